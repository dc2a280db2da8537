//! Options from flags, environment variables and a TOML file, in that order of precedence.
//!
//! The file has a table for each subcommand, whose keys are the long flags: `[collector]`, `http = "127.0.0.1:4380"`. Its
//! values become the flags' defaults, so that clap alone decides what wins and checks every value alike.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};
use toml::{Table, Value};

use crate::cli::Cli;

/// Where the file is, unless `--config` says so.
const CONFIG_VARIABLE: &str = "STANDOFF_CONFIG";

/// Reads the command line, with the defaults of the configuration file it names.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = without_empty_variables(Cli::command());
    let path = path(&args);
    if let Some(path) = &path {
        command = with_file(command, path)?;
    }
    let matches = command.try_get_matches_from(&args);
    let mut matches = matches.map_err(|error| with_origin(error, &args, path.as_deref()))?;
    Cli::from_arg_matches_mut(&mut matches)
}

/// The file's path has to be known before the options can be read.
fn path(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        if arg == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(path) = arg.to_str().and_then(|arg| arg.strip_prefix("--config=")) {
            return Some(path.into());
        }
    }
    set(CONFIG_VARIABLE).map(PathBuf::from)
}

/// What a variable says, if anything: an empty one does not.
fn set(variable: impl AsRef<OsStr>) -> Option<OsString> {
    std::env::var_os(variable).filter(|value| !value.is_empty())
}

fn without_empty_variables(command: Command) -> Command {
    command
        .mut_args(|arg| {
            if arg.get_env().and_then(set).is_some() {
                arg
            } else {
                arg.env(None)
            }
        })
        .mut_subcommands(without_empty_variables)
}

/// Says where a value that makes no sense comes from, if it is not on the command line.
fn with_origin(mut error: clap::Error, args: &[OsString], path: Option<&Path>) -> clap::Error {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let Some(flag) = option.split(' ').next().filter(|it| it.starts_with("--")) else {
        return error;
    };
    let is_flag = |arg: &str| {
        arg.strip_prefix(flag)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if args.iter().filter_map(|arg| arg.to_str()).any(is_flag) {
        return error;
    }
    let variable = format!(
        "STANDOFF_{}",
        flag.trim_start_matches('-').replace('-', "_").to_uppercase()
    );
    let origin = match path {
        _ if set(&variable).is_some() => format!("this is the value of the environment variable {variable}"),
        Some(path) => format!("this is the value in the configuration file {}", path.display()),
        None => return error,
    };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![origin.into()]));
    error
}

fn with_file(command: Command, path: &Path) -> Result<Command, clap::Error> {
    let fail = |problem: String| {
        clap::Error::raw(
            ErrorKind::InvalidValue,
            format!("configuration file {}: {problem}\n", path.display()),
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let tables: Table = toml::from_str(&text).map_err(|error| fail(error.to_string()))?;
    with_defaults(command, "standoff", "", tables).map_err(fail)
}

/// Gives the options of a command, and of its subcommands, the values of a table. `called` is how the command is called,
/// and `within` what stands before the names of its tables.
fn with_defaults(mut command: Command, called: &str, within: &str, table: Table) -> Result<Command, String> {
    for (key, value) in table {
        let inner = format!("{within}{key}");
        if let Some(subcommand) = command.find_subcommand(&key).cloned() {
            let Value::Table(table) = value else {
                return Err(format!("{inner} must be a table: write [{inner}] and its keys below"));
            };
            let subcommand = with_defaults(subcommand, &format!("{called} {key}"), &format!("{inner}."), table)?;
            command = command.mut_subcommand(&key, |_| subcommand);
            continue;
        }
        let Some(option) = command.get_arguments().find(|arg| arg.get_long() == Some(&key)) else {
            return Err(if value.is_table() {
                format!("[{inner}] is not a subcommand of {called}")
            } else {
                format!("{key} is not an option of {called}")
            });
        };
        let default = default(option, &value).map_err(|expected| format!("{inner} must be {expected}"))?;
        let id = option.get_id().clone();
        command = command.mut_arg(id, |arg| arg.required(false).default_values(default));
    }
    Ok(command)
}

/// A value of the file as the command line would give it.
fn default(arg: &Arg, value: &Value) -> Result<Vec<String>, &'static str> {
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
    match value {
        Value::Boolean(on) if is_switch => Ok(vec![on.to_string()]),
        _ if is_switch => Err("true or false"),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Integer(number) => Ok(vec![number.to_string()]),
        Value::Array(values) => values
            .iter()
            .map(|value| {
                value
                    .as_str()
                    .map(Into::into)
                    .or_else(|| value.as_integer().map(|it| it.to_string()))
            })
            .collect::<Option<Vec<String>>>()
            .ok_or("a list of texts or numbers"),
        Value::Boolean(_) | Value::Float(_) | Value::Datetime(_) | Value::Table(_) => Err("a text or a whole number"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::cli::Subcommand;

    fn http_of(config: &str, args: &[&str]) -> Result<SocketAddr, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("standoff.toml");
        std::fs::write(&path, config).unwrap();
        let mut line: Vec<OsString> = vec!["standoff".into(), "collector".into(), "--config".into(), path.into()];
        line.extend(args.iter().map(Into::into));
        let cli = parse(line).map_err(|error| error.to_string())?;
        let Subcommand::Collector(options) = cli.subcommand else {
            panic!("not the collector")
        };
        Ok(options.http)
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let config = "[collector]\nhttp = \"127.0.0.1:1\"\n";
        assert_eq!(http_of("", &[]).unwrap().port(), 4380);
        assert_eq!(http_of(config, &[]).unwrap().port(), 1);
        assert_eq!(http_of(config, &["--http", "127.0.0.1:2"]).unwrap().port(), 2);
    }

    #[test]
    fn a_subcommand_of_a_subcommand_has_a_table_within_a_table() {
        let table = toml::from_str("[bench.delay]\nruns = 7\nreport-after = [\"5ms\", \"0\"]").unwrap();
        let command = with_defaults(Cli::command(), "standoff", "", table).unwrap();
        let matches = command.try_get_matches_from(["standoff", "bench", "delay"]).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        assert!(
            format!("{cli:?}").contains("runs: 7, report_after: [5ms, 0ns]"),
            "{cli:?}"
        );
    }

    #[test]
    fn mistakes_in_the_file_are_named() {
        let cases = [
            ("[colector]", "[colector] is not a subcommand of standoff"),
            ("collector = 1", "collector must be a table"),
            (
                "[collector]\nhtpt = \"x\"",
                "htpt is not an option of standoff collector",
            ),
            (
                "[collector]\nhttp = 1.5",
                "collector.http must be a text or a whole number",
            ),
            (
                "[collector]\nhttp = \"nowhere\"",
                "invalid value 'nowhere' for '--http <ADDRESS>'",
            ),
            (
                "[collector]\nlease = \"soon\"",
                "tip: this is the value in the configuration file ",
            ),
            ("http = \"x\"", "http is not an option of standoff"),
            ("[bench]\nruns = 1", "runs is not an option of standoff bench"),
            ("[bench.speed]", "[bench.speed] is not a subcommand of standoff bench"),
            ("[collector", "TOML parse error at line 1"),
        ];
        for (config, message) in cases {
            let error = http_of(config, &[]).unwrap_err();
            assert!(error.contains(message), "{config:?} gave {error}");
        }
    }
}
