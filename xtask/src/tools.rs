//! Cargo subcommands that the tasks need.
//!
//! One that is installed is used as it is. A missing one is built from the registry into `target/tools`, where it changes
//! nothing outside the workspace, in a pinned version and without optimisation: these tools wait for the compiler or
//! look at a few hundred packages, and build in a minute that way.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::run;

/// A subcommand of cargo, as the crate that provides it.
#[derive(Debug)]
pub(crate) struct Tool {
    package: &'static str,
    version: &'static str,
    /// For `cargo install`, where the defaults would bring in more than we use.
    options: &'static [&'static str],
}

/// Runs the tests.
pub(crate) const NEXTEST: Tool = Tool {
    package: "cargo-nextest",
    version: "0.9.143",
    options: &["--no-default-features", "--features=default-no-update"],
};

/// Checks licences, sources and versions of dependencies.
pub(crate) const DENY: Tool = Tool {
    package: "cargo-deny",
    version: "0.20.2",
    options: &["--no-default-features"],
};

/// Finds dependencies that are declared and not used.
pub(crate) const MACHETE: Tool = Tool {
    package: "cargo-machete",
    version: "0.9.2",
    options: &[],
};

/// Changes code, to see which tests notice.
pub(crate) const MUTANTS: Tool = Tool {
    package: "cargo-mutants",
    version: "27.1.0",
    options: &[],
};

/// Changes bytes until they take new ways through a decoder.
pub(crate) const FUZZ: Tool = Tool {
    package: "cargo-fuzz",
    version: "0.13.2",
    options: &[],
};

/// Fast to build instead of fast to run.
const BUILD_FAST: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
];

impl Tool {
    /// Installs the tool if it is missing.
    pub(crate) fn ensure(&self, root: &Path) -> Result<()> {
        if is_on(self.package, &search_path(root)) {
            return Ok(());
        }
        let mut install = run::cargo(root);
        install
            .args(["install", self.package, "--locked", "--version", self.version])
            .args(self.options)
            .arg("--root")
            .arg(folder(root))
            .envs(BUILD_FAST);
        let status = run::step(&format!("install {}", self.package), &mut install)?;
        ensure!(status.success(), "cannot install {} {}", self.package, self.version);
        Ok(())
    }
}

/// `PATH`, and after it the tools that were installed here.
pub(crate) fn search_path(root: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([folder(root).join("bin")]);
    // Fails only for a folder with a separator in its name, in which nothing can be found anyway.
    env::join_paths(folders).unwrap_or_else(|_| path.clone())
}

fn folder(root: &Path) -> PathBuf {
    root.join("target/tools")
}

fn is_on(program: &str, path: &OsStr) -> bool {
    env::split_paths(path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_tool_installed_here_is_found() {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("target/tools/bin");
        assert!(!is_on("cargo-imaginary", &search_path(root.path())));
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("cargo-imaginary"), "").unwrap();
        assert!(is_on("cargo-imaginary", &search_path(root.path())));
    }
}
