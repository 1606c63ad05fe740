//! Records: what `status`, `info`, `wait` and `topology` are made of. One record, four writers: text for people
//! and awk, and the twins `.json`, `.xml` and `.sexp` for programs.

use crate::event::Attr;
use alloc::{collections::BTreeSet, format, string::String, vec::Vec};
use op::format_size;

/// How a record is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Format {
    Text,
    Json,
    Xml,
    Sexp,
}

impl Format {
    pub(crate) const ALL: [Format; 4] = [Format::Text, Format::Json, Format::Xml, Format::Sexp];

    /// What a file's name ends in.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Format::Text => "",
            Format::Json => ".json",
            Format::Xml => ".xml",
            Format::Sexp => ".sexp",
        }
    }
}

/// Fields in the order in which they are shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Record(pub(crate) Vec<(String, Attr)>);

impl Record {
    pub(crate) fn text(&mut self, key: &str, value: impl Into<String>) -> &mut Record {
        self.0.push((key.into(), Attr::Text(value.into())));
        self
    }

    pub(crate) fn int(&mut self, key: &str, value: u64) -> &mut Record {
        self.0.push((key.into(), Attr::Int(value)));
        self
    }

    pub(crate) fn size(&mut self, key: &str, value: u64) -> &mut Record {
        self.0.push((key.into(), Attr::Size(value)));
        self
    }

    pub(crate) fn real(&mut self, key: &str, value: f64) -> &mut Record {
        self.0.push((key.into(), Attr::Real(value)));
        self
    }

    pub(crate) fn sort(&mut self) {
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// One record: a line of JSON, one XML element, one list; as text, a `key=value` line a field.
    pub(crate) fn write(&self, element: &str, format: Format, out: &mut Vec<u8>) {
        match format {
            Format::Text => self.write_lines(out),
            Format::Json => self.write_json(out),
            Format::Xml => self.write_xml(element, out),
            Format::Sexp => self.write_sexp(element, out),
        }
    }

    fn write_lines(&self, out: &mut Vec<u8>) {
        for (key, value) in &self.0 {
            out.extend(key.bytes());
            out.push(b'=');
            out.extend(plain(value).replace('\n', "\\n").bytes());
            out.push(b'\n');
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (i, (key, value)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend(json(key).bytes());
            out.push(b':');
            match value {
                Attr::Text(text) => out.extend(json(text).bytes()),
                Attr::Int(n) | Attr::Size(n) => out.extend(format!("{n}").bytes()),
                Attr::Real(x) if !x.is_finite() => out.extend(b"null"),
                Attr::Real(x) => {
                    out.extend(format!("{x:.6}").trim_end_matches('0').trim_end_matches('.').bytes())
                }
            }
        }
        out.extend(b"}\n");
    }

    fn write_xml(&self, element: &str, out: &mut Vec<u8>) {
        out.extend(format!("<{element}").bytes());
        let mut names: BTreeSet<String> = BTreeSet::new();
        for (key, value) in &self.0 {
            // An attribute's name is a Name of XML; labels may have other characters, which become `_`.
            let mut name: String = key
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
                .collect();
            if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                name.insert(0, '_');
            }
            while !names.insert(name.clone()) {
                name.push('_');
            }
            out.extend(format!(" {name}=\"{}\"", escape_xml(&exact(value))).bytes());
        }
        out.extend(b"/>\n");
    }

    fn write_sexp(&self, element: &str, out: &mut Vec<u8>) {
        out.extend(format!("({element}").bytes());
        for (key, value) in &self.0 {
            let value = match value {
                Attr::Text(text) => {
                    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
                }
                other => exact(other),
            };
            out.extend(format!(" ({key} {value})").bytes());
        }
        out.extend(b")\n");
    }
}

/// A value as text shows it.
pub(crate) fn plain(value: &Attr) -> String {
    match value {
        Attr::Text(text) => text.clone(),
        Attr::Int(n) => format!("{n}"),
        Attr::Size(n) => format_size(*n),
        Attr::Real(x) => format!("{x:.2}"),
    }
}

/// A value without a unit, for programs.
fn exact(value: &Attr) -> String {
    match value {
        Attr::Size(n) => format!("{n}"),
        Attr::Text(_) | Attr::Int(_) | Attr::Real(_) => plain(value),
    }
}

/// A JSON string.
pub(crate) fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

fn escape_xml(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push_str(&format!("&#{};", c as u32)),
            c if (c as u32) < 0x20 || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_an_element_have_names_of_their_own() {
        let mut record = Record::default();
        record.text("ä", "1").text("ö", "2").text("9", "3").text("user", "me").text("user", "you");
        let mut out = Vec::new();
        record.write("node", Format::Xml, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<node _=\"1\" __=\"2\" _9=\"3\" user=\"me\" user_=\"you\"/>\n"
        );
    }

    #[test]
    fn one_record_four_writers() {
        let mut record = Record::default();
        record.text("command", "echo \"a<b\" \\ '\n'").int("id", 7).size("mem", 3 << 29).real("load", 0.5);
        let written = |format| {
            let mut out = Vec::new();
            record.write("session", format, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(Format::Text), "command=echo \"a<b\" \\ '\\n'\nid=7\nmem=1.5G\nload=0.50\n");
        assert_eq!(
            written(Format::Json),
            "{\"command\":\"echo \\\"a<b\\\" \\\\ '\\n'\",\"id\":7,\"mem\":1610612736,\"load\":0.5}\n"
        );
        assert_eq!(
            written(Format::Xml),
            "<session command=\"echo &quot;a&lt;b&quot; \\ '&#10;'\" id=\"7\" mem=\"1610612736\" load=\"0.50\"/>\n"
        );
        assert_eq!(
            written(Format::Sexp),
            "(session (command \"echo \\\"a<b\\\" \\\\ '\\n'\") (id 7) (mem 1610612736) (load 0.50))\n"
        );
    }
}
