//! What is a script and what is not, and what is said about the latter.

use proptest::prelude::*;

use crate::limits::{CALLS_MAX, CLIENTS_MAX, DEPTH_MAX, NAME_LENGTH_MAX, SCRIPT_LENGTH_MAX};
use crate::{ErrorKind, Script, ScriptError};

fn error(script: &str) -> ScriptError {
    script.parse::<Script>().unwrap_err()
}

/// The error as the user sees it.
fn check(script: &str, expected: &str) {
    assert_eq!(
        error(script).to_string(),
        expected.trim_start_matches('\n'),
        "{script:?}"
    );
}

#[test]
fn what_was_expected_is_said_where_it_is_missing() {
    for (script, column, message) in [
        ("", 1, "expected the name of a client, found the end of the script"),
        ("x", 2, "expected `:`, found the end of the script"),
        ("x A", 3, "expected `:`, found `A`"),
        ("x: ", 4, "expected a step, found the end of the script"),
        ("x: A;", 6, "expected a step, found the end of the script"),
        ("x: A{}", 6, "expected a step, found `}`"),
        ("x: A{B", 7, "expected `;` or `}`, found the end of the script"),
        ("x: A{B || y: C", 8, "expected `;` or `}`, found `||`"),
        (
            "x: A} || y: C",
            5,
            "expected `;`, `||` or the end of the script, found `}`",
        ),
        ("x: A B", 6, "expected `;`, `||` or the end of the script, found `B`"),
        (
            "x: A | y: B",
            6,
            "expected `;`, `||` or the end of the script, found `|`",
        ),
        (
            "x: A ||",
            8,
            "expected the name of a client, found the end of the script",
        ),
        ("x: &A", 5, "expected `(`, found `A`"),
        ("x: &()", 6, "expected the name of a server, found `)`"),
        ("x: &(A; B)", 7, "expected `,` or `)`, found `;`"),
        ("x: &(A, ~3)", 9, "expected the name of a server, found `~`"),
        ("x: 2/A", 6, "expected `(`, found `A`"),
        ("x: two/(A)", 4, "expected the number of needed calls, found `two`"),
        (
            "x: ~",
            5,
            "expected a time in milliseconds, found the end of the script",
        ),
        ("x: ~1.5", 6, "expected `;`, `||` or the end of the script, found `.`"),
        ("x: ~5ms", 5, "expected a time in milliseconds, found `5ms`"),
        (
            "x: A@",
            6,
            "expected a time in milliseconds, found the end of the script",
        ),
        ("x: A[2", 7, "expected `]`, found the end of the script"),
        ("x: P+@20", 6, "expected `;`, `||` or the end of the script, found `@`"),
        ("x*: A", 3, "expected the number of clients, found `:`"),
        ("x+: A", 3, "expected a time in milliseconds, found `:`"),
    ] {
        let error = error(script);
        assert_eq!(
            (error.kind().to_string().as_str(), error.place().column),
            (message, column),
            "{script:?}"
        );
    }
}

#[test]
fn numbers_have_bounds() {
    for (script, column, message) in [
        ("x*0: A", 3, "the number of clients must be between 1 and 10000"),
        ("x*10001: A", 3, "the number of clients must be between 1 and 10000"),
        ("x: A[0]", 6, "a capacity must be between 1 and 1000000"),
        (
            "x: ~86400001",
            5,
            "a time in milliseconds must be between 0 and 86400000",
        ),
        (
            "x: ~99999999999999999999999999",
            5,
            "a time in milliseconds must be between 0 and 86400000",
        ),
        (
            "x: 0/(A)",
            4,
            "the number of needed calls must be between 1 and 1000000",
        ),
        ("x: 3/(A, B)", 4, "the number of needed calls must be between 1 and 2"),
    ] {
        let error = error(script);
        assert_eq!(
            (error.kind().to_string().as_str(), error.place().column),
            (message, column),
            "{script:?}"
        );
    }
}

#[test]
fn signs_in_the_wrong_place_are_shown_the_right_one() {
    check(
        "x: A, B",
        "
line 1, column 5: expected `;`, `||` or the end of the script, found `,`
  x: A, B
      ^ only calls that run concurrently are separated by commas, as in `&(A, B)`",
    );
    check(
        "x: P+@20",
        "
line 1, column 6: expected `;`, `||` or the end of the script, found `@`
  x: P+@20
       ^ a timeout follows a call, as in `A@100` or `A{B}@100`",
    );
}

#[test]
fn only_servers_crash() {
    check(
        "x: A{!}; !",
        "
line 1, column 10: a client cannot crash
  x: A{!}; !
           ^ only servers crash; `A{!}` calls one that does",
    );
}

#[test]
fn a_name_is_a_server_or_a_pool() {
    check(
        "x: A{\n  B; A+ }",
        "
line 2, column 6: `A` is a lock or pool here, and a server at line 1, column 4
    B; A+ }
       ^ give one of them another name",
    );
    check(
        "x: P+; P{B}",
        "
line 1, column 8: `P` is a server here, and a lock or pool at line 1, column 4
  x: P+; P{B}
         ^ give one of them another name",
    );
}

#[test]
fn a_name_has_one_capacity() {
    check(
        "x: A[2]{B}; A[3]",
        "
line 1, column 14: a second capacity for `A`: it has 2 from its first mention at line 1, column 4
  x: A[2]{B}; A[3]
               ^^^",
    );
    check(
        "x: P+; P[2]+",
        "
line 1, column 9: a second capacity for `P`: it has 1 from its first mention at line 1, column 4
  x: P+; P[2]+
          ^^^",
    );
    assert!("x: A[2]; A[2]; A; B; B[1]".parse::<Script>().is_ok());
}

#[test]
fn each_request_releases_what_it_has_taken() {
    check(
        "x: P+; A{~5; P-}",
        "
line 1, column 14: `P-` without a `P+` before it
  x: P+; A{~5; P-}
               ^ each request, and each client, releases only what it has taken itself; its end releases the rest",
    );
    for script in ["x: P-", "x: P-; P+", "x: P+; P-; P-", "x: P+ || y: P-"] {
        let error = error(script);
        assert!(
            matches!(error.kind(), ErrorKind::ReleaseWithoutTake { name } if name == "P"),
            "{error}"
        );
    }
    assert!("x: P+; P+; P-; P-; P+; P-".parse::<Script>().is_ok());
}

#[test]
fn clients_are_no_resources() {
    let error = error("x[2]: A");
    assert_eq!((error.kind(), error.place().column), (&ErrorKind::CapacityOfClient, 2));
    assert!("A: A{B} || A: B{A} || P: P+".parse::<Script>().is_ok());
}

#[test]
fn long_lines_are_shortened_and_nothing_moves_the_cursor() {
    let script = format!("x: {}\u{1b}[31m; {}", ["ÄÖ日本"; 40].join("; "), ["B"; 40].join("; "));
    let error = error(&script).to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert!(lines[1].chars().count() < 110 && !error.contains('\u{1b}'), "{error}");
    // Half of these letters are two columns wide.
    assert_eq!(lines[2].trim_start().len(), 1, "{error}");
    assert!(lines[2].len() > 60, "{error}");
}

#[test]
fn everything_has_a_limit() {
    let nested = |depth| format!("x: {}A{}", "A{".repeat(depth), "}".repeat(depth));
    assert!(nested(DEPTH_MAX).parse::<Script>().is_ok());
    assert_eq!(error(&nested(DEPTH_MAX + 1)).kind(), &ErrorKind::TooDeep);
    assert_eq!(
        error(&"A{".repeat(SCRIPT_LENGTH_MAX / 2)).kind(),
        &ErrorKind::Unexpected {
            expected: "`:`",
            found: "`{`".to_owned()
        }
    );
    assert_eq!(error(&"日".repeat(SCRIPT_LENGTH_MAX)).kind(), &ErrorKind::TooLong);
    assert!(format!("x: {}", "n".repeat(NAME_LENGTH_MAX)).parse::<Script>().is_ok());
    assert_eq!(
        error(&format!("x: {}", "n".repeat(NAME_LENGTH_MAX + 1))).kind(),
        &ErrorKind::NameTooLong
    );
    assert!(format!("x*{CLIENTS_MAX}: A").parse::<Script>().is_ok());
    assert_eq!(
        error(&format!("x*{CLIENTS_MAX}: A || y: A")).kind(),
        &ErrorKind::TooManyClients
    );
    let calls = |count: u64| {
        format!(
            "x*1000: {}",
            vec!["A"; usize::try_from(count / 1000).unwrap()].join(";")
        )
    };
    assert!(calls(CALLS_MAX).parse::<Script>().is_ok());
    assert_eq!(error(&calls(CALLS_MAX + 1000)).kind(), &ErrorKind::TooManyCalls);
}

proptest! {
    /// Whatever the text, there is a script that is written as it is read, or an error about a place in it.
    #[test]
    fn nothing_panics(text in "([xAP0-9]|\\||&|/|\\(|\\)|\\{|\\}|\\[|\\]|[;:,@~!*+-]|\\PC){0,40}") {
        match text.parse::<Script>() {
            Ok(script) => prop_assert_eq!(script.to_string().parse::<Script>(), Ok(script)),
            Err(error) => prop_assert!(error.place().line <= 1 + text.matches('\n').count()),
        }
    }
}
