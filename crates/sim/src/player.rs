//! Plays a transcript through a [`Driver`]: does what its lines say, and writes down what comes out.
//!
//! ```text
//! # a comment                         says what follows promises
//! $ echo "exec cat" > 3               a client does; `alice$` is another, of that user, `alice2$` another of hers
//! ! start 0: cat                      the provider was asked
//! < started 0                         the provider tells: started, refused, output, full, closed, fed, exited
//! $ cat self/0/stdout &               goes on in the background
//! [1] waits                           it is not over, and nothing more happens by itself
//! < output 0 out "hi\n"
//! [1] hi
//! $ kill %1                           gives it up
//! @ advance 60s                       time passes; also `restart` (of the node), `hangup` or `alice hangup`
//! ```
//! Where there are many nodes, a line says at which: `@b$` is the shell of a client there and `alice@b$` of another,
//! `@b<` its provider, and `@b!` what that was asked; [`cloud::play`](crate::cloud::play) has what can happen to them.
//!
//! A command without `&` that waits shows nothing; its client does nothing else before it is over. What lines say
//! what is asked comes first, then what commands print, in their order. Commands are those of
//! [`commands`](crate::commands).

use crate::{
    commands::parse,
    driver::{Able, Asked, Driver},
    job::{Client, Job},
    script::{self, Told, starts_a_step},
};
use op::{Act, SessionId, Stream, Tell};
use std::collections::{BTreeMap, VecDeque};

/// A transcript that was played: line by line what was there, and what came.
#[derive(Clone, Debug, Default)]
pub struct Played {
    steps: Vec<Block>,
    able: Option<Able>,
    /// Why it could not be played with this driver.
    pub skipped: Option<String>,
    /// What was asked of the provider, all of it.
    pub asked: Vec<Act>,
}

/// A line that does something (or nothing), and the output below it.
#[derive(Clone, Debug)]
struct Block {
    number: usize,
    line: String,
    expected: Vec<String>,
    came: Vec<String>,
    /// What came depends on what the driver has not got.
    vague: bool,
}

struct Player<'a> {
    driver: &'a mut dyn Driver,
    clients: BTreeMap<String, Client>,
    jobs: Vec<Job>,
    next_job: usize,
    /// Lengths of spools and what is closed, by node, to tell it again to one that was restarted.
    spools: BTreeMap<(String, SessionId, Stream), (u64, bool)>,
    asked: Vec<Act>,
}

/// Plays a transcript to its end. What is wrong with its lines shows in what came.
pub fn play(text: &str, driver: &mut dyn Driver) -> Played {
    let able = driver.able();
    let mut played = Played { able: Some(able), ..Played::default() };
    let mut player = Player {
        driver,
        clients: BTreeMap::new(),
        jobs: Vec::new(),
        next_job: 1,
        spools: BTreeMap::new(),
        asked: Vec::new(),
    };
    for (i, line) in text.lines().enumerate() {
        if !starts_a_step(line)
            && let Some(block) = played.steps.last_mut()
        {
            block.expected.push(line.into());
            continue;
        }
        let mut block =
            Block { number: i + 1, line: line.into(), expected: vec![], came: vec![], vague: false };
        if !line.trim().is_empty() && !line.starts_with('#') {
            if let Some(why) = cannot(line, able) {
                played.skipped = Some(format!("line {}: {why}", i + 1));
                return played;
            }
            block.vague =
                !(able.owners && able.links) && (line.contains("$ ls -l") || line.contains("$ stat"));
            if let Err(why) = player.act(line) {
                block.came.push(format!("?? {why}"));
            }
            player.settle(&mut block.came);
        }
        played.steps.push(block);
    }
    played.asked = player.asked;
    played
}

/// What a driver lacks to do a line.
fn cannot(line: &str, able: Able) -> Option<String> {
    let (who, what) = line.split_once(' ')?;
    let missing = match who {
        "@" if what.starts_with("advance") && !able.clock => "has no clock to advance",
        "@" if what.starts_with("restart") && !able.restart => "cannot restart the node",
        _ if who.ends_with('$') && user_of(&who[..who.len() - 1]) != "ericvh" && !able.users => {
            "has no other users"
        }
        _ if what.starts_with("chmod") && !able.chmod => "cannot change attributes",
        _ if what.starts_with("chgrp") && !able.chmod => "cannot change attributes",
        _ if (what.starts_with("readlink") || what.starts_with("find")) && !able.links => "has no links",
        _ if what.starts_with("read -n") && !able.nowait => "always waits",
        _ => return None,
    };
    Some(format!("this driver {missing}"))
}

fn user_of(client: &str) -> &str {
    match client.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "" => "ericvh",
        user => user,
    }
}

impl Player<'_> {
    fn act(&mut self, line: &str) -> Result<(), String> {
        let (who, what) = line.split_once(' ').ok_or("a line is a word, a space, and what to do")?;
        match who {
            "<" => self.tell("", what),
            "@" => self.world(what),
            _ => match who.strip_prefix('@').and_then(|who| who.strip_suffix('<')) {
                Some(node) => self.tell(node, what),
                None => self.client(&who[..who.len() - 1], what),
            },
        }
    }

    fn tell(&mut self, node: &str, line: &str) -> Result<(), String> {
        let now = self.driver.node_at(node)?.now();
        let name = String::from(node);
        match script::told(line, now)? {
            Told::Tell(tell) => {
                if let Tell::Closed { session, stream } = &tell {
                    self.spools.entry((name, *session, *stream)).or_default().1 = true;
                }
                self.driver.node_at(node)?.tell(tell);
            }
            Told::Output(session, stream, data) => {
                self.spools.entry((name, session, stream)).or_default().0 += data.len() as u64;
                self.driver.node_at(node)?.output(session, stream, &data);
            }
            Told::Adopted(session) => {
                let of = (name.clone(), session, Stream::Out)..=(name, session, Stream::Err);
                for ((_, _, stream), (len, closed)) in self.spools.range(of).map(|(k, v)| (k.clone(), *v)) {
                    self.driver.node_at(node)?.tell(Tell::Grew { session, stream, len });
                    if closed {
                        self.driver.node_at(node)?.tell(Tell::Closed { session, stream });
                    }
                }
                self.driver.node_at(node)?.tell(crate::provider::started(session, 100 + session.0 as u32));
            }
        }
        Ok(())
    }

    fn world(&mut self, line: &str) -> Result<(), String> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["advance", span] => {
                let span = op::parse_span(span).ok_or_else(|| format!("{span} is no length of time"))?;
                self.driver.node().advance(span);
            }
            ["restart"] => {
                self.driver.node().restart();
                self.clients.clear();
                self.jobs.clear();
            }
            ["hangup"] => self.hangup(""),
            [client, "hangup"] => self.hangup(client),
            _ => {
                self.driver.happens(line)?;
                // Who was at a node that died is gone with it.
                let driver = &*self.driver;
                self.clients.retain(|_, client| !driver.is_gone(client.conn));
                let clients = &self.clients;
                self.jobs.retain(|job| clients.contains_key(&job.client));
            }
        }
        Ok(())
    }

    fn hangup(&mut self, name: &str) {
        self.jobs.retain(|job| job.client != name);
        if let Some(client) = self.clients.remove(name) {
            self.driver.hangup(client.conn);
        }
    }

    fn client(&mut self, name: &str, line: &str) -> Result<(), String> {
        if self.jobs.iter().any(|job| job.client == name && !job.command.background) {
            return Err("the command before this one still waits; it wants a `&`".into());
        }
        if let Some(number) = line.strip_prefix("kill %") {
            let job = self.jobs.iter_mut().find(|j| j.number.to_string() == number && j.client == name);
            let (call, _) = job.and_then(|job| job.call.as_ref()).ok_or("no such job waits")?;
            self.driver.interrupt(*call);
            return Ok(());
        }
        let command = parse(line)?;
        if !self.clients.contains_key(name) {
            let (user, node) = name.split_once('@').unwrap_or((name, ""));
            let conn = self.driver.connect_at(node, user_of(user))?;
            self.clients.insert(name.into(), Client { conn, descriptors: BTreeMap::new() });
        }
        let number = if command.background { self.next_job } else { 0 };
        self.next_job += usize::from(command.background);
        let offset = command.on.and_then(|d| self.clients[name].descriptors.get(&d)).map_or(0, |d| d.offset);
        self.jobs.push(Job {
            number,
            client: name.into(),
            command,
            file: None,
            offset,
            call: None,
            printed: Vec::new(),
            lines: Vec::new(),
            error: None,
            counted: 0,
            announced: false,
        });
        Ok(())
    }

    /// Lets everything happen that can, and writes down what came of it.
    fn settle(&mut self, came: &mut Vec<String>) {
        let mut asked: Vec<(String, Asked)> = Vec::new();
        loop {
            self.driver.settle();
            let mut jobs = std::mem::take(&mut self.jobs);
            let mut moved = false;
            for job in &mut jobs {
                moved |= self.advance(job);
            }
            self.jobs = jobs;
            for node in self.driver.nodes() {
                let new = self.driver.node_at(&node).map(|node| node.asked()).unwrap_or_default();
                asked.extend(new.into_iter().map(|asked| (node.clone(), asked)));
            }
            if !moved {
                break;
            }
        }
        came.extend(asked.iter().map(|(node, asked)| match node.as_str() {
            "" => script::asked(asked),
            node => format!("@{node}{}", script::asked(asked)),
        }));
        self.asked.extend(asked.into_iter().filter_map(|(_, a)| match a {
            Asked::Act(act) => Some(act),
            Asked::Down { .. } => None,
        }));
        let able = self.driver.able();
        self.jobs.retain_mut(|job| {
            let over = job.call.is_none() && job.command.steps.is_empty();
            job.write(came, over, able);
            !over
        });
    }

    /// Takes a job one call further; whether it moved.
    fn advance(&mut self, job: &mut Job) -> bool {
        let Some(client) = self.clients.get_mut(&job.client) else { return false };
        if let Some((call, step)) = job.call.take() {
            let Some(answer) = self.driver.poll(call) else {
                job.call = Some((call, step));
                return false;
            };
            job.take(step, answer, client);
        } else if let Some(step) = job.command.steps.pop_front() {
            match job.call_of(&step, client) {
                Ok(Some(call)) => job.call = Some((self.driver.begin(client.conn, call), step)),
                Ok(None) => {}
                Err(error) => job.fail(error),
            }
        } else {
            return false;
        }
        true
    }
}

impl Played {
    /// Whether what came is what is written; the difference, if not.
    ///
    /// # Errors
    /// A text that names the line.
    pub fn check(&self) -> Result<(), String> {
        let able = self.able.unwrap_or(Able::ALL);
        for block in self.steps.iter().filter(|b| !b.vague) {
            let fit = |line: &String| normal(&script::as_able(line, able), able);
            let expected: Vec<String> = block.expected.iter().map(fit).collect();
            let came: Vec<String> = block.came.iter().map(|line| normal(line, able)).collect();
            let same =
                expected.len() == came.len() && expected.iter().zip(&came).all(|(e, c)| script::alike(e, c));
            if !same || came.iter().any(|line| line.starts_with("?? ")) {
                let list = |lines: &[String]| lines.iter().map(|l| format!("    {l}\n")).collect::<String>();
                return Err(format!(
                    "line {}: {}\n  expected:\n{}  came:\n{}",
                    block.number,
                    block.line,
                    list(&expected),
                    list(&came)
                ));
            }
        }
        Ok(())
    }

    /// The transcript with what came in place of what was expected.
    pub fn updated(&self) -> String {
        let lines = self.steps.iter().flat_map(|b| std::iter::once(&b.line).chain(&b.came));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// A line without what a clock that is not ours has put there.
fn normal(line: &str, able: Able) -> String {
    if able.clock {
        return line.into();
    }
    let timed = ["real=", "started=", "created=", "ended=", "user=", "sys=", "up_secs="];
    let words = line.split(' ').map(|word| {
        let date = word.len() > 20 && word.contains('T') && word.contains(':') && word.contains('Z');
        let clock = word.len() == 8 && word.as_bytes()[2] == b':' && word.as_bytes()[5] == b':';
        match timed.iter().find(|key| word.starts_with(**key)) {
            Some(key) => format!("{key}…"),
            None if date || clock => "…".into(),
            None => word.into(),
        }
    });
    words.collect::<VecDeque<_>>().into_iter().collect::<Vec<_>>().join(" ")
}
