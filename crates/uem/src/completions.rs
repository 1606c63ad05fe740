//! `uem completions`: what a shell needs to complete our command lines. Subcommands and flags are in the script; what is in the tree
//! (paths, nodes, keys of queries and the values that exist) it asks of `uem complete` at every press of the key.

use crate::failure::Outcome;
use clap_complete::Shell;
use std::io::Write;

/// Print completions for a shell, to be put where it looks for them
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "uem", &mut text);
    let text = String::from_utf8_lossy(&text);
    std::io::stdout().write_all(with_the_tree(args.shell, &text).as_bytes())?;
    Ok(0)
}

/// A script for the flags, and the tree's part with it.
fn with_the_tree(shell: Shell, flags: &str) -> String {
    match shell {
        Shell::Bash => format!("{flags}{BASH}"),
        // Asked first; where it has nothing to say, the flags' part goes on.
        Shell::Zsh => {
            flags.replacen("_uem() {\n", &format!("{ZSH}_uem() {{\n    _uem_tree && return 0\n"), 1)
        }
        Shell::Fish => format!("{flags}{FISH}"),
        _ => flags.into(),
    }
}

/// Bash takes a word apart at `=` and `:`, and wants only what follows the last of them.
const BASH: &str = r#"
_uem_tree() {
    local line=${COMP_LINE:0:COMP_POINT}
    local word=${line##*[[:space:]]} before=() found=()
    read -ra before <<< "${line%"$word"}"
    mapfile -t found < <("${COMP_WORDS[0]}" complete -- "${before[@]}" "$word" 2> /dev/null)
    if ((${#found[@]} == 0)); then
        _uem "$@"
        return
    fi
    local kept=""
    if [[ $word == *[=:]* && $COMP_WORDBREAKS == *[=:]* ]]; then
        kept=${word%"${word##*[=:]}"}
    fi
    COMPREPLY=("${found[@]#"$kept"}")
    if [[ ${#found[@]} -gt 1 || ${found[0]} == *[=/] ]]; then
        compopt -o nospace
    fi
}
complete -F _uem_tree -o bashdefault -o default uem
"#;

const ZSH: &str = r#"_uem_tree() {
    local -a found
    found=(${(f)"$("${words[1]}" complete -- "${(@)words[1,CURRENT-1]}" "$PREFIX" 2> /dev/null)"})
    (( $#found )) || return 1
    compadd -S '' -- $found
}

"#;

const FISH: &str = r#"
function __uem_tree
    set -l words (commandline -opc)
    $words[1] complete -- $words (commandline -ct) 2> /dev/null
end
complete -c uem -n "__fish_uem_using_subcommand run" -l on -x -a "(__uem_tree)"
complete -c uem -n "__fish_uem_using_subcommand ps" -l on -x -a "(__uem_tree)"
complete -c uem -n "__fish_uem_using_subcommand status" -l on -x -a "(__uem_tree)"
complete -c uem -n "__fish_uem_using_subcommand ls" -f -a "(__uem_tree)"
complete -c uem -n "__fish_uem_using_subcommand cat" -f -a "(__uem_tree)"
complete -c uem -n "__fish_uem_using_subcommand write" -f -a "(__uem_tree)"
complete -c uem -n "__fish_uem_using_subcommand kill" -f -a "(__uem_tree)"
"#;
