//! The transcripts, through every way there is in memory. `UPDATE_TRANSCRIPTS=1` writes what came into the files;
//! read the difference before you commit it.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use ninep::Dialect;
use sim::{direct::Direct, driver::Driver, over_9p::Over9p, player};
use std::{collections::BTreeSet, fs, path::PathBuf, sync::Once};

/// All of them; written anew first, once and before anybody reads, if that is asked for.
fn transcripts() -> Vec<(PathBuf, String)> {
    static UPDATE: Once = Once::new();
    UPDATE.call_once(|| {
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            for (path, text) in read_all() {
                let played = std::panic::catch_unwind(|| player::play(&text, &mut Direct::driver()));
                if let Ok(played) = played {
                    fs::write(path, played.updated()).unwrap();
                }
            }
        }
    });
    read_all()
}

fn read_all() -> Vec<(PathBuf, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/transcripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 10, "the transcripts are there");
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// How many were played; the others were skipped.
fn play_all(driver: impl Fn() -> Box<dyn Driver> + std::panic::RefUnwindSafe) -> usize {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, text) in transcripts() {
        let file = path.file_name().unwrap().display();
        let played = std::panic::catch_unwind(|| player::play(&text, &mut *driver()));
        match played.map(|played| (played.skipped.is_some(), played.check())) {
            Ok((true, _)) => continue,
            Ok((false, Ok(()))) => {}
            Ok((false, Err(why))) => wrong.push(format!("{file}: {why}")),
            Err(_) => wrong.push(format!("{file}: panicked, see above")),
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count} differ\n\n{}", wrong.len(), wrong.join("\n"));
    count
}

#[test]
fn transcripts_are_as_the_kernel_plays_them() {
    assert_eq!(play_all(|| Box::new(Direct::driver())), transcripts().len(), "none is skipped");
}

#[test]
fn transcripts_are_the_same_through_9p2000_uem() {
    assert_eq!(play_all(|| Box::new(Over9p::driver(Dialect::Uem))), transcripts().len(), "none is skipped");
}

#[test]
fn transcripts_are_the_same_through_9p2000_l_but_for_the_sentences() {
    assert!(play_all(|| Box::new(Over9p::driver(Dialect::L))) >= transcripts().len() * 3 / 4);
}

#[test]
fn transcripts_are_the_same_through_9p2000_but_for_the_errnos() {
    assert!(play_all(|| Box::new(Over9p::driver(Dialect::Plain))) >= transcripts().len() / 2);
}

#[test]
fn a_transcript_that_differs_is_found() {
    let (_, text) = transcripts().remove(0);
    let at = text.find("\n! start ").expect("the first transcript starts something");
    let wrong = format!("{}\n! start 7: nothing{}", &text[..at], &text[at..]);
    assert!(player::play(&wrong, &mut Direct::driver()).check().is_err());
}

#[test]
fn every_verb_is_in_a_transcript() {
    let all: String = transcripts().into_iter().map(|(_, text)| text).collect();
    let words: BTreeSet<&str> = all
        .lines()
        .filter(|line| line.contains("$ echo") || line.contains("$ printf"))
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()))
        .chain(all.contains("$ echo @0 ").then_some("RANKS"))
        .collect();
    let missing: Vec<_> = kernel::manual::VERBS
        .iter()
        .map(|v| v.name)
        .filter(|v| !words.contains(v.trim_start_matches('@')))
        .collect();
    assert!(missing.is_empty(), "verbs in no transcript: {missing:?}");
}

#[test]
fn every_file_and_twin_is_opened_in_a_transcript() {
    let all: String = transcripts().into_iter().map(|(_, text)| text).collect();
    let done: Vec<&str> =
        all.lines().filter(|l| l.contains("$ ") && !l.contains("$ ls") && !l.contains("$ find")).collect();
    let opened: BTreeSet<&str> = done.iter().flat_map(|l| l.split(|c: char| " /<>".contains(c))).collect();
    let mut missing = Vec::new();
    for file in kernel::manual::FILES {
        for suffix in if file.twins { &["", ".json", ".xml", ".sexp"][..] } else { &[""] } {
            let name = format!("{}{suffix}", file.name);
            if !opened.contains(name.as_str()) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "files in no transcript: {missing:?}");
}
