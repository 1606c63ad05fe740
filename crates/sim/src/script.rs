//! The words of a transcript: what a line asks for, and how bytes, acts and errors are written in one.

use crate::driver::{Able, Asked};
use kernel::{manual::SIGNALS, split};
use op::{
    Act, Errno, Error, Exit, How, Launch, Limits, SessionId, Stream, Tell, Usage, Wall, format_cpu,
    format_size, parse_size, parse_span,
};

/// Words of a line as in sh, with `\n`, `\t`, `\0`, `\\` and `\xNN` understood in them, and `N*word` for N times
/// the word.
pub(crate) fn words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let words = split(line.as_bytes()).map_err(|e| format!("{e}"))?;
    Ok(words.into_iter().map(|word| repeated(unescape(&word))).collect())
}

pub(crate) fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = word.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'0') => out.push(0),
            Some(b'x') => {
                let mut digit = || bytes.next().and_then(|b| (b as char).to_digit(16)).unwrap_or(0);
                out.push((digit() * 16 + digit()) as u8);
            }
            Some(other) => out.push(other),
            None => out.push(b'\\'),
        }
    }
    out
}

fn repeated(word: Vec<u8>) -> Vec<u8> {
    let Some(at) = word.iter().position(|b| *b == b'*') else { return word };
    match text(&word[..at]).parse::<usize>() {
        Ok(times) => word[at + 1..].repeat(times),
        Err(_) => word,
    }
}

/// Bytes as lines of a transcript, each after `prefix`: what is not text as `\xNN`, a last line without its
/// newline ends in `\c`, as echo(1) would have it.
pub(crate) fn shown(prefix: &str, bytes: &[u8], lines: &mut Vec<String>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\n');
        let (line, more) = rest.split_at(end.unwrap_or(rest.len()));
        let mut out = String::from(prefix);
        for chunk in line.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\t' => out.push_str("\\t"),
                    c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
                    c => out.push(c),
                }
            }
            chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
        }
        if end.is_none() {
            out.push_str("\\c");
        }
        if out.is_empty() || starts_a_step(&out) {
            out.insert_str(0, "\\&");
        }
        lines.push(out);
        rest = more.strip_prefix(b"\n").unwrap_or(more);
    }
}

/// Whether a line is not output: blank, a comment, or something to do.
pub(crate) fn starts_a_step(line: &str) -> bool {
    let word = line.split(' ').next().unwrap_or("");
    line.trim().is_empty()
        || line.starts_with('#')
        || word == "<"
        || word == "@"
        || word.starts_with('@') && word.ends_with('<')
        || word.strip_suffix('$').is_some_and(is_client)
}

/// `alice`, or `alice@b` where there are many nodes; nothing for whom it is usually.
fn is_client(who: &str) -> bool {
    let (user, node) = who.split_once('@').unwrap_or((who, ""));
    user.bytes().all(|b| b.is_ascii_alphanumeric())
        && node.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `cat: self/9/status: No such file or directory (no session 9 …)`.
pub(crate) fn failure(what: &str, error: &Error, able: Able) -> String {
    let cause = if error.cause.is_empty() { String::new() } else { format!(" ({})", error.cause) };
    match (able.errno, able.cause) {
        (true, true) => format!("{what}: {}{cause}", error.errno.text()),
        (true, false) => format!("{what}: {}", error.errno.text()),
        (false, _) => {
            format!("{what}: {}", if error.cause.is_empty() { error.errno.text() } else { &error.cause })
        }
    }
}

/// An expected line as a driver can show it that loses something of an error.
pub(crate) fn as_able(line: &str, able: Able) -> String {
    if able.errno && able.cause {
        return line.into();
    }
    for errno in Errno::ALL {
        let Some(at) = line.find(&format!(": {}", errno.text())) else { continue };
        let (what, rest) = line.split_at(at + 2);
        let rest = &rest[errno.text().len()..];
        let cause = rest.strip_prefix(" (").and_then(|r| r.strip_suffix(')'));
        return match (able.errno, rest.is_empty(), cause) {
            (true, _, Some(_)) | (true, true, None) => format!("{what}{}", errno.text()),
            (false, _, Some(cause)) => format!("{what}{cause}"),
            // What is said in place of an errno differs from server to server.
            (false, true, None) => format!("{what}*"),
            (_, false, None) => continue,
        };
    }
    line.into()
}

/// Whether a line is what was expected; `*` at the end of that is anything.
pub(crate) fn alike(expected: &str, came: &str) -> bool {
    expected == came || expected.strip_suffix(": *").is_some_and(|what| came.starts_with(what))
}

fn signal_name(number: i32) -> String {
    SIGNALS.iter().find(|(_, n)| *n == number).map_or(number.to_string(), |(name, _)| name.to_string())
}

fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Out => "out",
        Stream::Err => "err",
    }
}

fn brief(data: &[u8]) -> String {
    if data.len() > 60 {
        return format!("{} bytes", data.len());
    }
    let mut lines = Vec::new();
    shown("", data, &mut lines);
    let joined = lines.join("\\n");
    match joined.strip_suffix("\\c") {
        Some(text) => format!("\"{text}\""),
        None => format!("\"{joined}\\n\""),
    }
}

fn limits(l: &Limits) -> String {
    let mut out = String::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push_str(&format!(" {key}={value}"));
        }
    };
    add("cpu", l.cpu.map(format_cpu));
    add("mem", l.mem.map(format_size));
    add("pids", l.pids.map(|n| n.to_string()));
    add("wall", l.wall.map(|d| format!("{}s", d.as_secs_f64())));
    add("output", l.output.filter(|o| *o != kernel::limits::OUTPUT).map(format_size));
    add("fds", l.fds.map(|n| n.to_string()));
    out
}

fn launch(l: &Launch) -> String {
    let mut out = format!("start {}: {}", l.session.0, text(&kernel::join(&l.argv)));
    let mut also = Vec::new();
    if &*l.user.name != "ericvh" {
        also.push(format!("as {}", l.user.name));
    }
    also.extend(l.dir.as_ref().map(|dir| format!("in {}", text(dir))));
    if l.nice != 0 {
        also.push(format!("nice {}", l.nice));
    }
    also.extend(l.tty.map(|size| format!("tty {}x{}", size.rows, size.cols)));
    let limited = limits(&l.limits);
    if !limited.is_empty() {
        also.push(format!("limits{limited}"));
    }
    let usual = ["PATH=", "HOME=", "USER=", "LOGNAME=", "SHELL="];
    for line in l.env.iter().map(|line| text(line)).filter(|l| !usual.iter().any(|u| l.starts_with(u))) {
        also.push(format!("env {line}"));
    }
    if !also.is_empty() {
        out.push_str(&format!("   [{}]", also.join(", ")));
    }
    out
}

/// What was asked, as a line that begins with `!`.
pub(crate) fn asked(asked: &Asked) -> String {
    let act = match asked {
        Asked::Down { keep: true } => return "! down keep".into(),
        Asked::Down { keep: false } => return "! down".into(),
        Asked::Act(act) => act,
    };
    let id = crate::provider::session_of(act).0;
    let said = match act {
        Act::Start(l) => launch(l),
        Act::Adopt { mark, .. } => format!("adopt {id} {mark}").trim_end().into(),
        Act::Signal { signal, all, .. } => {
            format!("signal {id} {}{}", signal_name(*signal), if *all { " to all" } else { "" })
        }
        Act::Freeze(_) => format!("freeze {id}"),
        Act::Thaw(_) => format!("thaw {id}"),
        Act::Feed { data, .. } => format!("feed {id} {}", brief(data)),
        Act::Unfeed(_) => format!("unfeed {id}"),
        Act::CloseStdin(_) => format!("close stdin {id}"),
        Act::Resize { size, .. } => format!("resize {id} {}x{}", size.rows, size.cols),
        Act::Limit { limits: l, .. } => format!("limit {id}{}", limits(l)),
        Act::Trim { stream, offset, .. } => format!("trim {id} {} {offset}", stream_name(*stream)),
        Act::Append { stream, offset, data, .. } => {
            let text = String::from_utf8_lossy(data);
            format!("append {id} {} {offset} {text:?}", stream_name(*stream))
        }
        Act::Free(_) => format!("free {id}"),
    };
    format!("! {said}")
}

/// What a `<` line says.
pub(crate) enum Told {
    /// Just tell it.
    Tell(Tell),
    /// The program writes.
    Output(SessionId, Stream, Vec<u8>),
    /// All that is known of a program that was asked for again: its spools, and that it runs.
    Adopted(SessionId),
}

/// Understands a `<` line.
pub(crate) fn told(line: &str, now: Wall) -> Result<Told, String> {
    let words = words(line)?;
    let shown: Vec<String> = words.iter().map(|w| text(w)).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let id = |word: &str| word.parse().map(SessionId).map_err(|_| format!("{word} is no session"));
    let errno = |word: &str| {
        let found = Errno::ALL.iter().find(|e| e.symbol() == word).copied();
        found.ok_or_else(|| format!("{word} is no errno"))
    };
    let stream = |word: &str| match word {
        "out" => Ok(Stream::Out),
        "err" => Ok(Stream::Err),
        _ => Err(format!("{word} is neither out nor err")),
    };
    Ok(match shown[..] {
        ["started", session] => {
            let session = id(session)?;
            Told::Tell(crate::provider::started(session, 100 + session.0 as u32))
        }
        ["started", session, pid] => {
            let pid = pid.trim_start_matches("pid=").parse().map_err(|_| "pid=NUMBER")?;
            Told::Tell(crate::provider::started(id(session)?, pid))
        }
        ["adopted", session] => Told::Adopted(id(session)?),
        ["refused", session, error, ref cause @ ..] => Told::Tell(Tell::Refused {
            session: id(session)?,
            error: Error::new(errno(error)?, cause.join(" ")),
        }),
        ["output", session, to, _] => Told::Output(id(session)?, stream(to)?, words[3].clone()),
        ["full", session, which] => Told::Tell(Tell::Full { session: id(session)?, stream: stream(which)? }),
        ["closed", session, which] => {
            Told::Tell(Tell::Closed { session: id(session)?, stream: stream(which)? })
        }
        ["fed", session] => Told::Tell(Tell::Fed { session: id(session)?, result: Ok(()) }),
        ["fed", session, error] => {
            Told::Tell(Tell::Fed { session: id(session)?, result: Err(errno(error)?.into()) })
        }
        ["exited", session, ref how @ ..] => {
            Told::Tell(Tell::Exited { session: id(session)?, exit: exit(how, now)? })
        }
        _ => return Err(format!("not something that a provider tells: {line}")),
    })
}

fn exit(words: &[&str], at: Wall) -> Result<Exit, String> {
    let mut exit = Exit { how: How::Code(0), usage: Usage::default(), at };
    for word in words {
        let bad = || format!("{word} is not how a program ends");
        let micros = |v: &str| parse_span(v).map(|d| d.as_micros() as u64).ok_or_else(bad);
        match word.split_once('=') {
            None if *word == "lost" => exit.how = How::Lost,
            Some(("code", n)) => exit.how = How::Code(n.parse().map_err(|_| bad())?),
            Some(("signal", n)) => exit.how = How::Signal(n.parse().map_err(|_| bad())?),
            Some(("user", v)) => exit.usage.user_us = micros(v)?,
            Some(("sys", v)) => exit.usage.sys_us = micros(v)?,
            Some(("maxrss", v)) => exit.usage.maxrss_kib = parse_size(v).ok_or_else(bad)? >> 10,
            _ => return Err(bad()),
        }
    }
    Ok(exit)
}
