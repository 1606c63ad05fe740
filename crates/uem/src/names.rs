//! Names of many at once: `n[1-64,70]`, as ClusterShell and Slurm write them, and what they stand for.
//!
//! A list has names with commas between them; in a name, `[…]` stands for each number and range in it. A range whose
//! first number has zeros before it is padded to that width. More brackets than one are all their combinations.

/// Most names that one word may stand for.
const MOST: usize = 10_000;

/// All names that a word stands for, in the order in which it names them.
pub(crate) fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for name in parts(text)? {
        let rest = MOST - all.len();
        all.extend(combinations(name, rest)?);
    }
    Ok(all)
}

/// What stands between commas that are in no brackets.
fn parts(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut from, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match (c, inside) {
            ('[', false) => inside = true,
            (']', true) => inside = false,
            ('[', true) | (']', false) => return Err(format!("{text:?}: its brackets do not match")),
            (',', false) => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    match (inside, parts.iter().any(|part| part.is_empty())) {
        (true, _) => Err(format!("{text:?}: its brackets do not match")),
        (false, true) => Err(format!("{text:?}: a name is missing")),
        (false, false) => Ok(parts),
    }
}

fn combinations(name: &str, most: usize) -> Result<Vec<String>, String> {
    let Some((before, rest)) = name.split_once('[') else {
        return if most == 0 { Err(too_many()) } else { Ok(vec![name.into()]) };
    };
    let (set, after) = rest.split_once(']').unwrap_or((rest, ""));
    let afters = combinations(after, most)?;
    let mut all = Vec::new();
    for range in set.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain)
        };
        let (Some(from), Some(to)) = (number(first), number(last)) else {
            return Err(format!("{name:?}: {range:?} is no number and no range such as 1-64"));
        };
        if from > to {
            return Err(format!("{name:?}: the range {range:?} is empty"));
        }
        let width = if first.starts_with('0') { first.len() } else { 0 };
        for number in from..=to {
            if all.len() + afters.len() > most {
                return Err(too_many());
            }
            all.extend(afters.iter().map(|after| format!("{before}{number:0width$}{after}")));
        }
    }
    Ok(all)
}

fn too_many() -> String {
    format!("that is more than {MOST} names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_stand_for_their_names() {
        for (text, names) in [
            ("n", "n"),
            ("n1,b", "n1 b"),
            ("n[1-3]", "n1 n2 n3"),
            ("n[1-2,7]/3", "n1/3 n2/3 n7/3"),
            ("n[08-11]", "n08 n09 n10 n11"),
            ("r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"),
            ("b/[4,6],c/1", "b/4 b/6 c/1"),
            ("n[5]x,y[1-2]", "n5x y1 y2"),
            ("n[0]", "n0"),
        ] {
            assert_eq!(expand(text).unwrap().join(" "), names, "{text}");
        }
    }

    #[test]
    fn what_is_no_set_is_said_to_be_none() {
        for text in
            ["", "n[", "n]", "n[[1]]", "n[]", "n[a-b]", "n[3-1]", "n[-1]", "n[1-]", "a,,b", "n[1,]", "n[+1]"]
        {
            assert!(expand(text).is_err(), "{text}");
        }
        for text in ["n[1-10001]", "n[1-9999999999999]", "a[1-1000]b[1-1000]", "a[1-9999],b,c"] {
            assert!(expand(text).is_err_and(|why| why.contains("more than")), "{text}");
        }
        assert_eq!(expand("n[1-10000]").unwrap().len(), 10_000);
    }
}
