//! What is remembered of flows, and what shares are told of them: lines as they are written to `ctl`.

use super::{Flow, Form, Layout, Records, STREAMS, name_of, said::words_of};
use crate::{
    Kernel,
    group::line_of,
    words::{lossy, split},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use op::{SessionId, Stream};

impl Flow {
    /// The lines that make a share give and take frames.
    pub(crate) fn share_lines(&self) -> Vec<Vec<u8>> {
        let mut lines = alloc::vec![format!("records {}", quoted(&self.records)).into_bytes()];
        lines.push(if self.deals() { b"stdin frames".to_vec() } else { b"stdin frames queued".to_vec() });
        for stream in STREAMS {
            let form = Form { layout: Layout::Frames, ..self.forms[stream as usize] };
            lines.push(self.form_line(stream, form));
        }
        lines
    }

    /// How an output is collected, as a line.
    fn form_line(&self, stream: Stream, form: Form) -> Vec<u8> {
        let name = name_of(stream);
        match &self.reduces[stream as usize] {
            Some(words) => [format!("{name} reduce ").as_bytes(), &line_of(words)].concat(),
            None => format!("{name} {}", words_of(form)).into_bytes(),
        }
    }

    /// What the journal must know: lines of `flow ID …`.
    fn kept(&self) -> Vec<Vec<u8>> {
        let mut lines = alloc::vec![format!("records {}", quoted(&self.records)).into_bytes()];
        let queued = if self.queued { " queued" } else { "" };
        lines.extend(self.way.map(|way| format!("stdin {way}{queued}").into_bytes()));
        for stream in STREAMS {
            lines.push(self.form_line(stream, self.forms[stream as usize]));
            let reducer = self.reducers[stream as usize].iter();
            lines.extend(reducer.flat_map(|reducer| reducer.kept(name_of(stream))));
        }
        for (holds, word) in
            [(self.cut || self.feed.is_some(), "fed"), (self.closed, "closed"), (self.whole, "whole")]
        {
            if holds {
                lines.push(word.into());
            }
        }
        lines
    }
}

/// `regex` has a word that may need quotes.
fn quoted(records: &Records) -> String {
    match records.to_string().split_once(' ') {
        Some((mode, re)) => format!("{mode} {}", lossy(&crate::words::join(&[re.as_bytes().to_vec()]))),
        None => records.to_string(),
    }
}

impl Kernel {
    /// Lines for a journal that is written anew.
    pub(crate) fn flow_lines(&self) -> Vec<Vec<u8>> {
        let flows = self.sessions.values().filter_map(|s| Some((s.id, s.flow.as_deref()?)));
        let lines = flows.flat_map(|(id, flow)| flow.kept().into_iter().map(move |line| (id, line)));
        lines.map(|(id, line)| [format!("flow {} ", id.0).as_bytes(), &line].concat()).collect()
    }

    /// A line of the journal that speaks of a flow.
    pub(crate) fn recall_flow(&mut self, line: &[u8]) -> Option<()> {
        let rest = line.strip_prefix(b"flow ")?;
        let words = split(rest).ok()?;
        let [id, verb, words @ ..] = &words[..] else { return None };
        // Of a session that was freed, the journal says so in another place.
        let Ok(flow) = self.flow_mut(SessionId(lossy(id).parse().ok()?)) else { return Some(()) };
        match &*lossy(verb) {
            "fed" => flow.cut = true,
            "closed" => flow.closed = true,
            "whole" => flow.whole = true,
            "reducer" => flow.recall_reducer(words)?,
            verb => flow.set(verb, words).ok()?,
        }
        Some(())
    }
}
