//! What comes over a lane: each frame goes where its type belongs.

use super::{Frame, Kind, Lane, Said, VERSION, frame, limits};
use ninep::Dialect;
use op::{Mono, Op};

impl Lane {
    /// Takes bytes that arrived, cut anywhere; appends what they say.
    ///
    /// # Errors
    /// The other end does not speak as it should: a sentence, to tell it and to log. The lane is of no use any more.
    pub fn receive(&mut self, bytes: &[u8], now: Mono, said: &mut Vec<Said>) -> Result<(), String> {
        self.heard(now);
        let mut frames = std::mem::take(&mut self.frames);
        let result = frames.feed(bytes, |frame| self.frame(frame, said));
        self.frames = frames;
        self.take_questions();
        result
    }

    /// Something arrived, if only a part of what can be understood.
    pub fn heard(&mut self, now: Mono) {
        self.heard = self.heard.max(now);
    }

    fn frame(&mut self, frame: &[u8], said: &mut Vec<Said>) -> Result<(), String> {
        let ty = frame[4];
        if ty >= frame::OWN {
            return self.own(Frame::decode(frame)?, said);
        }
        if self.theirs.is_none() {
            return Err("something was said before Hello".into());
        }
        if ty.is_multiple_of(2) {
            if self.server.wants_input() && self.held.is_empty() {
                return self.serve(frame, said);
            }
            self.held_bytes += frame.len();
            if self.held_bytes > limits::HELD {
                return Err("it asks more and more, and does not take its answers".into());
            }
            self.held.push_back(frame.to_vec());
            return Ok(());
        }
        self.client.receive(frame).map_err(|broken| broken.0.into_owned())?;
        if self.client.dialect().is_some_and(|dialect| dialect != Dialect::Uem) {
            return Err(format!("it does not speak {}", Dialect::Uem.name()));
        }
        self.take_answers(said);
        Ok(())
    }

    fn own(&mut self, frame: Frame, said: &mut Vec<Said>) -> Result<(), String> {
        match (&frame, &self.theirs, self.ours.kind) {
            (Frame::Hello(hello), None, kind) => {
                if hello.version != VERSION {
                    let theirs = hello.version;
                    return Err(format!("it speaks version {theirs} of the link, and this node {VERSION}"));
                }
                if hello.kind != kind {
                    return Err("it is another lane than it was made for".into());
                }
                if hello.above == self.ours.above {
                    return Err("one of the two must be the parent".into());
                }
                self.theirs = Some(hello.clone());
            }
            (Frame::Hello(_), Some(_), _) => return Err("Hello was said twice".into()),
            // Who refuses a link says so before anything else.
            (Frame::Bye { .. }, _, _) => {}
            (_, None, _) => return Err("something was said before Hello".into()),
            (Frame::Beat, Some(_), _) => return Ok(()),
            (_, Some(_), Kind::Bulk) => return Err("a bulk lane is for streams only".into()),
            (
                Frame::News(_) | Frame::Want(_) | Frame::Join(_) | Frame::Grant(_) | Frame::Revoked(_),
                Some(_),
                Kind::Control,
            ) => {}
        }
        said.push(Said::Frame(frame));
        Ok(())
    }

    fn serve(&mut self, frame: &[u8], said: &mut Vec<Said>) -> Result<(), String> {
        let result = self.server.receive(frame, &mut self.asks).map_err(|broken| broken.0.into_owned());
        self.take_asks(said);
        if self.served > limits::HELD {
            return Err("it writes more and more, and does not wait for answers".into());
        }
        result
    }

    pub(super) fn take_asks(&mut self, said: &mut Vec<Said>) {
        for (tag, op) in self.asks.drain(..) {
            match &op {
                Op::Write { data, .. } => {
                    self.served += data.len();
                    self.serving.insert(tag, (data.len(), None));
                }
                Op::Flush { tag: given_up } if self.serving.contains_key(given_up) => {
                    self.serving.insert(tag, (0, Some(*given_up)));
                }
                _neither_holds_bytes => {}
            }
            said.push(Said::Asked(tag, op));
        }
    }

    /// Takes in questions that were held back, as far as answers have been taken meanwhile.
    ///
    /// # Errors
    /// As [`receive`](Lane::receive).
    pub fn resume(&mut self, said: &mut Vec<Said>) -> Result<(), String> {
        while self.server.wants_input()
            && let Some(frame) = self.held.pop_front()
        {
            self.held_bytes -= frame.len();
            self.serve(&frame, said)?;
        }
        Ok(())
    }

    /// Whether questions are held back.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn take_answers(&mut self, said: &mut Vec<Said>) {
        while let Some((tag, reply)) = self.client.next_reply() {
            let Some(asked) = self.asked.remove(&tag) else { continue };
            self.writes -= asked.writes;
            if self.tags.get(&asked.tag) == Some(&tag) {
                self.tags.remove(&asked.tag);
            }
            if let Some(given_up) = asked.flushes.and_then(|target| self.asked.remove(&target)) {
                self.writes -= given_up.writes;
                self.tags.remove(&given_up.tag);
            }
            said.push(Said::Answered(asked.tag, reply));
        }
    }
}
