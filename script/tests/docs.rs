//! What `docs/scripts.md` shows is true.

use standoff_script::{
    CALLS_MAX, CAPACITY_MAX, CLIENTS_MAX, DEPTH_MAX, NAME_LENGTH_MAX, SCRIPT_LENGTH_MAX, Script, TIME_MAX,
};

const DOCS: &str = include_str!("../../docs/scripts.md");

/// The blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let start = format!("```{language}\n");
    let after = DOCS.split(start.as_str()).skip(1);
    after
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .collect()
}

#[test]
fn scripts_are_scripts() {
    let lines: Vec<&str> = blocks("script").iter().flat_map(|block| block.lines()).collect();
    assert!(lines.len() > 5);
    for line in lines {
        let script = line.split('#').next().unwrap();
        if let Err(error) = script.parse::<Script>() {
            panic!("{error}");
        }
    }
}

#[test]
fn errors_are_errors() {
    let blocks = blocks("error");
    assert!(blocks.len() > 3);
    for block in blocks {
        let (script, error) = block.split_once('\n').unwrap();
        assert_eq!(script.parse::<Script>().unwrap_err().to_string(), error.trim_end());
    }
}

#[test]
fn limits_are_those_of_the_crate() {
    for row in [
        format!("| length of a script | {} KiB |", SCRIPT_LENGTH_MAX / 1024),
        format!("| calls within calls | {DEPTH_MAX} |"),
        format!("| length of a name | {NAME_LENGTH_MAX} characters |"),
        format!("| clients in all | {} |", grouped(CLIENTS_MAX)),
        format!(
            "| calls of all clients in all, direct and indirect | {} |",
            grouped(CALLS_MAX)
        ),
        format!("| capacity | {} |", grouped(u64::from(CAPACITY_MAX))),
    ] {
        assert!(DOCS.contains(&row), "{row}");
    }
    assert_eq!(TIME_MAX.as_secs(), 24 * 60 * 60, "the docs say a day");
}

/// With a comma after every third digit, from the right.
fn grouped(mut number: u64) -> String {
    let mut text = (number % 1000).to_string();
    while number >= 1000 {
        number /= 1000;
        let digits = text.split(',').next().map_or(0, str::len);
        text = format!("{},{}{text}", number % 1000, "0".repeat(3 - digits));
    }
    text
}
