//! Every order of the few things that can happen to a request that is asked of another node: its answers, a flush, a
//! clunk, the client's end, the end of the link, and that it comes back, before the old one's end or after it.

use sim::cloud::race::{Kind, Race};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Move {
    /// One request over a link is answered.
    Answer,
    Flush,
    Clunk,
    HangUp,
    /// The oldest link breaks.
    Unlink,
    /// The child is back.
    Link,
    /// It asks.
    Caller,
    /// It says who it is.
    News,
    /// The client asks for the same again.
    Again,
}

use Move::{Again, Answer, Caller, Clunk, Flush, HangUp, Link, News, Unlink};

fn play(kind: Kind, story: &[Move]) {
    let mut race = Race::new(kind);
    for what in story {
        match what {
            Answer => race.answer(),
            Flush => race.flush(),
            Clunk => race.clunk(),
            HangUp => race.hang_up(),
            Unlink => race.unlink(),
            Link => drop(race.link()),
            Caller => race.caller(),
            News => race.news(),
            Again => race.again(),
        }
    }
    race.finish();
}

/// Plays all orders of these; how many there are.
fn all_orders(kind: Kind, moves: &[Move]) -> usize {
    fn go(kind: Kind, story: &mut Vec<Move>, left: &mut Vec<Move>, played: &mut usize) {
        if left.is_empty() {
            *played += 1;
            let done = catch_unwind(AssertUnwindSafe(|| play(kind, story)));
            assert!(done.is_ok(), "{kind:?}: {story:?}");
            return;
        }
        let mut tried = Vec::new();
        for at in 0..left.len() {
            if tried.contains(&left[at]) {
                continue;
            }
            let what = left.remove(at);
            tried.push(what);
            story.push(what);
            go(kind, story, left, played);
            story.pop();
            left.insert(at, what);
        }
    }
    let mut played = 0;
    go(kind, &mut Vec::new(), &mut moves.to_vec(), &mut played);
    played
}

#[test]
fn a_link_that_breaks_and_comes_back_while_requests_are_answered() {
    for kind in Kind::ALL {
        assert!(all_orders(kind, &[Answer, Answer, Unlink, Link, News, Caller]) > 300);
    }
}

#[test]
fn a_client_gives_up_around_a_relink() {
    for kind in Kind::ALL {
        assert!(all_orders(kind, &[Answer, Flush, Clunk, Unlink, Link, News]) > 700);
    }
}

#[test]
fn a_client_is_gone_around_a_relink() {
    for kind in Kind::ALL {
        assert!(all_orders(kind, &[Answer, Answer, Flush, HangUp, Unlink, Link]) > 300);
    }
}

#[test]
fn what_is_asked_again_goes_over_the_link_that_is_there() {
    for kind in Kind::ALL {
        assert!(all_orders(kind, &[Answer, Answer, Again, Unlink, Link, Answer]) > 100);
        assert!(all_orders(kind, &[Again, Clunk, Unlink, Link, Unlink, News]) > 300);
    }
}

#[test]
fn a_client_gives_up_while_the_link_holds() {
    for kind in Kind::ALL {
        assert!(all_orders(kind, &[Answer, Answer, Flush, Clunk]) >= 12);
        assert!(all_orders(kind, &[Answer, Answer, Flush, HangUp, Link]) >= 60);
        assert!(all_orders(kind, &[Answer, Flush, Again, Clunk, Answer]) >= 60);
    }
}
