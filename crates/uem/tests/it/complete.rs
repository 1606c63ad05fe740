//! Completion at a prompt: keys and values that exist, nodes, places, and flags as before.

use crate::home::Home;
use std::process::{Command, Stdio};

/// What bash calls the function with, for a line with the cursor at its end: words are taken apart at `=` and `:`.
const BASH: &str = r#"
source <("$uem" completions bash)
for line in "$@"; do
    COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=("$uem")
    apart=${line#uem }
    apart=${apart//=/ = }
    read -ra rest <<< "$apart"
    COMP_WORDS+=("${rest[@]}")
    [[ $line == *[\ =] ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _uem_tree "$uem" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2> /dev/null
    echo "${COMPREPLY[*]}"
done
"#;

fn bash(home: &Home, lines: &[&str]) -> Vec<String> {
    let mut command = Command::new("bash");
    home.settle(&mut command);
    command.env("uem", env!("CARGO_BIN_EXE_uem")).args(["-c", BASH, "bash"]).args(lines);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split(' ').collect::<Vec<_>>().join(" ")).collect()
}

fn labelled() -> Home {
    let home = Home::empty();
    let flags = ["--label", "gpus=2", "--label", "colour=blue", "--label", "rack=r7"];
    let up = home.run(&[&["up", "--no-mount", "--name", "n"][..], &flags].concat());
    assert_eq!(up.status, 0, "{}", up.err);
    home
}

#[test]
fn bash_completes_keys_and_the_values_that_exist() {
    let home = labelled();
    let found = bash(
        &home,
        &[
            "uem ls query/col",
            "uem ls query/colour=",
            "uem cat query/x86_64/gpus=2/sta",
            "uem run --on ra",
            "uem run --on gpus=2/rack=",
            "uem ps --on=colour=b",
            "uem ls query/policy=sp",
            "uem ls net/n/quer",
            "uem run --detac",
        ],
    );
    let wanted = [
        "query/colour=",
        "blue/",
        // What stands before the last `=` is on the line already, as bash sees it.
        "2/state= 2/status 2/status.json 2/status.xml 2/status.sexp",
        "rank= rack=",
        "r7",
        "blue",
        "spread/ space/",
        "",
        "--detach",
    ];
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split_whitespace().map(String::from).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(found), sorted(wanted), "line {at}");
    }
    assert_eq!(found.len(), wanted.len());
}

#[test]
fn completion_starts_no_node_and_allocates_nothing() {
    let home = Home::empty();
    assert_eq!(home.run(&["complete", "--", "uem", "ls", "query/"]).status, 1);
    assert_eq!(home.run(&["ls"]).status, 125, "no node was started");
    let home = labelled();
    for word in ["query/x86_64/", "await/gpus=9/", "query/num=2/", "net/n/", ""] {
        home.run(&["complete", "--", "uem", "ls", word]);
        home.run(&["complete", "--", "uem", "run", "--on", word]);
    }
    assert_eq!(home.info("self/info.json", "sessions"), "0");
}

/// Where fish is installed: it has a way to be asked.
#[test]
fn fish_completes_the_same() {
    let home = labelled();
    let script =
        "$uem completions fish | source; complete -C 'uem ls query/colour='; complete -C 'uem run --on rac'";
    let mut command = Command::new("fish");
    home.settle(&mut command);
    let dir = std::path::Path::new(env!("CARGO_BIN_EXE_uem")).parent().unwrap();
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).env("uem", env!("CARGO_BIN_EXE_uem")).args(["--no-config", "-c", script]);
    let Ok(output) = command.stderr(Stdio::inherit()).output() else { return };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "query/colour=blue/\nrack=\n");
}
