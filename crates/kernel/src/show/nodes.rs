//! Records of nodes and of sets of them: from what this node knows, each with its age.

use super::secs;
use crate::{
    Attr, Kernel,
    cloud::{Known, Load, NodeNo},
    notices,
    place::{Subject, View},
    record::{Format, Record},
};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use core::time::Duration;
use op::Wall;

impl Kernel {
    pub(super) fn node_status(&self, format: Format, out: &mut Vec<u8>) {
        let state = if self.cloud.drained { "drained" } else { "up" };
        up_row(&self.node.name, state, &self.own_load(), Duration::ZERO, format, out);
    }

    pub(super) fn known_status(&self, known: &Known, format: Format, out: &mut Vec<u8>) {
        let age = self.clock.mono.since(known.measured);
        match &known.down {
            Some((since, why)) => down_row(&known.name, *since, why, format, out),
            None => up_row(&known.name, known.state(), &known.load, age, format, out),
        }
    }

    /// A row a node, by name.
    pub(super) fn set_status(&self, subject: Subject, format: Format, out: &mut Vec<u8>) {
        let mut rows: Vec<(&str, Vec<u8>)> = Vec::new();
        if self.holds_me(subject) {
            let mut row = Vec::new();
            self.node_status(format, &mut row);
            rows.push((&self.node.name, row));
        }
        for (_, known) in self.set_nodes(subject) {
            let mut row = Vec::new();
            self.known_status(known, format, &mut row);
            rows.push((&known.name, row));
        }
        if let (Subject::Cloud, Some((parent, since, why))) = (subject, &self.cloud.lost) {
            let mut row = Vec::new();
            down_row(parent, *since, why, format, &mut row);
            rows.push((parent, row));
        }
        self.in_shown_order(subject, &mut rows, |row| row.0);
        rows.into_iter().for_each(|(_, row)| out.extend(row));
    }

    /// By name, or in the order that a query asks for.
    fn in_shown_order<R>(&self, subject: Subject, rows: &mut [R], name: impl Fn(&R) -> &str) {
        if !self.is_ordered(subject) {
            return rows.sort_by(|a, b| name(a).cmp(name(b)));
        }
        let names = self.names_in_order(subject);
        let at: BTreeMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (&**name, at)).collect();
        rows.sort_by_key(|row| at.get(name(row)).copied());
    }

    /// What a set of nodes has together.
    pub(super) fn set_info(&self, subject: Subject, format: Format, out: &mut Vec<u8>) {
        let (mut up, mut down, mut drained) = (0, 0, 0);
        let (mut cpus, mut mem, mut total) = (0, 0, Load::default());
        let mut add = |attrs: &[(String, Attr)], load: &Load, state: &str| {
            match state {
                "down" => return down += 1,
                "drained" => drained += 1,
                _ => up += 1,
            }
            for (key, value) in attrs {
                match (key.as_str(), value) {
                    ("cpus", Attr::Int(n)) => cpus += n,
                    ("mem", Attr::Size(n)) => mem += n,
                    _ => {}
                }
            }
            total.users += load.users;
            total.load += load.load;
            total.mem_free += load.mem_free;
            total.disk_free += load.disk_free;
            total.sessions += load.sessions;
            total.running += load.running;
        };
        if self.holds_me(subject) {
            let state = if self.cloud.drained { "drained" } else { "up" };
            add(&self.node.attrs, &self.own_load(), state);
        }
        self.set_nodes(subject).for_each(|(_, known)| add(&known.attrs, &known.load, known.state()));
        if subject == Subject::Cloud && self.cloud.lost.is_some() {
            down += 1;
        }
        let mut r = Record::default();
        r.int("nodes", up + down + drained).int("up", up).int("down", down).int("drained", drained);
        r.int("cpus", cpus).size("mem", mem).size("mem_free", total.mem_free);
        r.size("disk_free", total.disk_free).int("sessions", total.sessions).int("running", total.running);
        r.int("users", total.users).real("load", total.load);
        r.sort();
        r.write("set", format, out);
    }

    /// Where each node of a set is.
    pub(super) fn set_topology(&self, subject: Subject, format: Format, out: &mut Vec<u8>) {
        let parent = self.cloud.ancestors.last().map_or("-", |(_, name)| name);
        let mut rows: Vec<(&str, &str, &str, Option<&str>)> = Vec::new();
        if self.holds_me(subject) {
            let state = if self.cloud.drained { "drained" } else { "up" };
            rows.push((&self.node.name, parent, state, crate::cloud::loc(&self.node.attrs)));
        }
        for (_, known) in self.set_nodes(subject) {
            let parent = match self.node_no(known.parent).and_then(|no| self.cloud.known(no)) {
                Some(parent) => &*parent.name,
                None if known.parent == self.node.id => &*self.node.name,
                None => "-",
            };
            rows.push((&known.name, parent, known.state(), known.loc()));
        }
        self.in_shown_order(subject, &mut rows, |row| row.0);
        for (name, parent, state, loc) in rows {
            let mut r = Record::default();
            r.text("node", name).text("parent", parent).text("state", state).text("loc", loc.unwrap_or("-"));
            match format {
                Format::Text => {
                    out.extend(format!("{name} {parent} {state} {}\n", loc.unwrap_or("-")).bytes())
                }
                Format::Json | Format::Xml | Format::Sexp => r.write("node", format, out),
            }
        }
    }

    pub(super) fn node_info(&self, format: Format, out: &mut Vec<u8>) {
        let mut r = Record(self.node.attrs.clone());
        let gauges = self.gauges.as_ref().map(|(_, g)| g.clone()).unwrap_or_default();
        let state = if self.cloud.drained { "drained" } else { "up" };
        r.text("node", &*self.node.name).text("state", state).text("user", &*self.node.owner.name);
        r.int("sessions", self.sessions.len() as u64).int("running", self.running as u64);
        r.text("started", notices::rfc3339(self.node.started)).int("up_secs", gauges.up_secs);
        r.real("load", gauges.load[0]).real("load5", gauges.load[1]).real("load15", gauges.load[2]);
        r.int("users", gauges.users.into())
            .size("mem_free", gauges.mem_free)
            .size("disk_free", gauges.disk_free);
        if let Some(own) = &gauges.own {
            r.real("node_cpu", secs(own.user_us + own.sys_us)).size("node_rss", own.maxrss_kib << 10);
        }
        r.size("store", self.store.used).size("store_limit", self.node.store);
        r.int("store_got", self.store.got).int("store_given", self.store.given);
        r.int("clients", self.clients.len() as u64).int("waiting", self.parked.len() as u64);
        r.text("path", format!("net/{}", self.node.name)).text("id", format!("{}", self.node.id));
        r.int("children", self.cloud.children().count() as u64);
        if let Some((_, parent)) = self.cloud.ancestors.last() {
            let above: Vec<&str> = self.cloud.ancestors.iter().map(|(_, name)| &**name).collect();
            r.text("parent", &**parent).text("above", above.join("/"));
        }
        if !self.cloud.seeking.is_empty() {
            r.text("seeking", self.cloud.seeking.as_str());
        }
        if let Some((parent, since, why)) = &self.cloud.lost {
            r.text("parent_down", format!("{parent} since {}: {why}", notices::rfc3339(*since)));
        }
        r.sort();
        r.write("node", format, out);
    }
}

/// The row of another node, as it was last known.
pub(crate) fn row_of(k: &Kernel, no: NodeNo, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(known) = k.cloud.known(no) {
        k.known_status(known, format, &mut out);
    }
    out
}

/// What was last known of another node.
pub(crate) fn info_of(k: &Kernel, no: NodeNo, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(known) = k.cloud.known(no) else { return out };
    let mut r = Record(known.attrs.clone());
    r.text("node", &*known.name).text("state", known.state()).text("id", format!("{}", known.id));
    r.text("path", format!("net/{}", known.name));
    r.text(
        "above",
        k.view_of(Some(no), View::Tree).map(|names| names[1..names.len() - 1].join("/")).unwrap_or_default(),
    );
    if let Some((since, why)) = &known.down {
        r.text("since", notices::rfc3339(*since)).text("why", &**why);
    }
    r.sort();
    r.write("node", format, &mut out);
    out
}

fn up_row(name: &str, state: &str, load: &Load, age: Duration, format: Format, out: &mut Vec<u8>) {
    let up_secs = load.up_secs + age.as_secs();
    if format == Format::Text {
        let (days, rest) = (up_secs / 86_400, up_secs % 86_400);
        let days = match days {
            0 => String::new(),
            1 => "1 day, ".into(),
            n => format!("{n} days, "),
        };
        let up = format!("{days}{:02}:{:02}", rest / 3600, rest / 60 % 60);
        let drained = if state == "drained" { ", drained" } else { "" };
        let line = format!("{name} up {up}, {} users, load average: {:.2}{drained}\n", load.users, load.load);
        return out.extend(line.bytes());
    }
    let mut record = Record::default();
    record.text("node", name).text("state", state).int("up_secs", up_secs);
    record.int("users", load.users).real("load", load.load).real("age", age.as_secs_f64());
    record.write("node", format, out);
}

pub(crate) fn down_row(name: &str, since: Wall, why: &str, format: Format, out: &mut Vec<u8>) {
    let since = notices::rfc3339(since);
    if format == Format::Text {
        return out.extend(format!("{name} down since {since}\n").bytes());
    }
    let mut record = Record::default();
    record.text("node", name).text("state", "down").text("since", since).text("why", why);
    record.write("node", format, out);
}
