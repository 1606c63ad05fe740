//! The transcripts of many nodes. `UPDATE_TRANSCRIPTS=1` writes what came into the files; read the difference before
//! you commit it.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use sim::{cloud::play::Stage, player};
use std::{fs, path::PathBuf};

fn transcripts() -> Vec<(PathBuf, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/clouds");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn transcripts_of_many_nodes_are_as_they_are_written() {
    let all = transcripts();
    assert!(all.len() >= 10, "the transcripts are there");
    let mut wrong = Vec::new();
    for (path, text) in all {
        let played = player::play(&text, &mut Stage::driver());
        assert_eq!(played.skipped, None, "{}", path.display());
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            fs::write(&path, played.updated()).unwrap();
        } else if let Err(why) = played.check() {
            wrong.push(format!("{}: {why}", path.file_name().unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_transcript_of_many_nodes_that_differs_is_found() {
    let (_, text) = transcripts().remove(0);
    let wrong = text.replacen(" up ", " down ", 1);
    assert_ne!(text, wrong);
    assert!(player::play(&wrong, &mut Stage::driver()).check().is_err());
}
