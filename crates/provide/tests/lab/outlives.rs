//! What outlives node and keeper besides pipes: terminals, and starts that still wait.

use crate::Test;
use crate::fuse::Fuse;
use crate::keeps::{Kept, get, journal, put};
use crate::world::{is_alive, kill};
use rustix::process::Signal;
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[Test] = &[
    ("a_terminal_outlives_node_and_keeper", a_terminal_outlives_node_and_keeper),
    ("a_start_that_waits_does_not_hold_the_next_node", a_start_that_waits_does_not_hold_the_next_node),
];

/// Sets what tasks are started with, for the keeper and its nodes.
fn set(name: &str, value: &std::ffi::OsStr) {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var(name, value) };
}

fn kill_node(kept: &Kept) -> i32 {
    let node = get(kept.path(), "node.pid").unwrap();
    kill(node, Signal::KILL);
    kept.node_after(node)
}

fn a_terminal_outlives_node_and_keeper() {
    set("LAB_TTY", "1".as_ref());
    let script = "stty -echo -onlcr; echo begun; for n in 1 2 3; do read x; echo got $x; stty size; done; read x; \
                  i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo last; exit 5";
    let kept = Kept::new(1, script);
    let mut expected = "begun\n".to_owned();
    let is_there = |expected: &str| {
        kept.until(&format!("{:?}", &expected[expected.len() - 6..]), || {
            (kept.spool(1, "out").len() >= expected.len()).then_some(())
        });
        assert_eq!(kept.spool(1, "out"), expected);
    };
    is_there(&expected);
    kept.until("it is in the journal", || {
        journal(kept.path()).get(&1).filter(|k| !k.mark.is_empty()).cloned()
    });
    // While it stands still not a byte is lost, whoever dies: the node, the keeper, both in turn.
    for (round, victims) in [&["node"][..], &["keeper"], &["node", "keeper"]].iter().enumerate() {
        for victim in *victims {
            let node = kept.node_after(0);
            let pid = get(kept.path(), &format!("{victim}.pid")).unwrap();
            kill(pid, Signal::KILL);
            kept.node_after(node);
        }
        put(kept.path(), "input", &format!("word{round}\n"));
        expected += &format!("got word{round}\n33 99\n");
        is_there(&expected);
    }
    // While it talks, a kill may lose what one read took, and no more.
    put(kept.path(), "input", "go\n");
    let mut kills = 0;
    while kills < 4 && !kept.path().join("done").exists() {
        let before = kept.spool(1, "out").len();
        kept.until("more", || {
            (kept.spool(1, "out").len() > before || kept.path().join("done").exists()).then_some(())
        });
        kill_node(&kept);
        kills += 1;
    }
    kept.done();
    let whole = expected + &(0..20_000).map(|i| format!("line {i}\n")).collect::<String>() + "last\n";
    let got = kept.spool(1, "out");
    let lost = whole.len() - got.len();
    println!("a terminal: {kills} kills while it talked, {lost} bytes of {} lost", whole.len());
    assert!(lost <= kills * (16 << 10), "more than one read for each kill");
    let same = whole.bytes().zip(got.bytes()).take_while(|(a, b)| a == b).count();
    assert!(lost > 0 || same == whole.len());
    assert!(got.ends_with("last\n"));
    assert_eq!(journal(kept.path())[&1].how.as_deref(), Some("5"));
}

fn a_start_that_waits_does_not_hold_the_next_node() {
    let Some(fuse) = Fuse::new() else { return };
    set("LAB_DIR", fuse.point().as_os_str());
    let kept = Kept::new(1, "echo $TASK >> $STATE/ran; exit 9");
    let first = kept.node_after(0);
    // Its one child waits for us.
    let child = kept.until("a child that waits", || {
        let tasks = std::fs::read_dir(format!("/proc/{first}/task")).ok()?;
        let children =
            tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let pid: i32 = children.collect::<String>().split_whitespace().next()?.parse().ok()?;
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        (open == 3).then_some(pid)
    });
    let began = Instant::now();
    kill(first, Signal::KILL);
    kept.node_after(first);
    assert!(began.elapsed() < Duration::from_secs(5), "the next node came after {:?}", began.elapsed());
    assert!(is_alive(child), "it waits still");
    // Known to the keeper since before it waited: the next node has it, and it runs once.
    kept.until("adopted", || journal(kept.path()).get(&1).filter(|known| !known.mark.is_empty()).cloned());
    assert_eq!(journal(kept.path())[&1].mark.split(':').next(), Some(child.to_string().as_str()));
    kept.until("its end", || {
        fuse.answer();
        kept.path().join("done").exists().then_some(())
    });
    assert_eq!(journal(kept.path())[&1].how.as_deref(), Some("9"));
    assert!(!journal(kept.path())[&1].refused);
    assert_eq!(std::fs::read_to_string(kept.path().join("ran")).unwrap(), "1\n");
}
