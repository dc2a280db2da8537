//! `cargo xtask protos`: generates the Rust code of every `.proto` file into the tree.
//!
//! The generated code is checked in, so that building standoff needs no protobuf compiler; a test compares it with what
//! would be generated now. Comments in front of a message, field, service or method become its documentation; a comment
//! with an empty line after it, such as one that heads the file, stays where it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A `.proto` file and where its code goes. Paths start at the root.
struct Proto {
    file: &'static str,
    /// Where imports are looked up.
    include: &'static str,
    /// What the file declares; the generator names its output by it.
    package: &'static str,
    output: &'static str,
    /// The codec of its services.
    codec: &'static str,
}

const PROTOS: &[Proto] = &[
    Proto {
        file: "protocol/proto/standoff/stream/v1/stream.proto",
        include: "protocol/proto",
        package: "standoff.stream.v1",
        output: "protocol/src/stream/generated.rs",
        codec: "crate::stream::codec::Counted",
    },
    Proto {
        file: "demo-services/proto/standoff/demo/cluster/v1/node.proto",
        include: "demo-services/proto",
        package: "standoff.demo.cluster.v1",
        output: "demo-services/src/cluster/grpc/generated.rs",
        codec: "tonic_prost::ProstCodec",
    },
];

/// Generates all code anew and writes what has changed.
///
/// # Errors
///
/// If a `.proto` file does not compile or cannot be documented, or its code cannot be written.
pub fn generate(root: &Path) -> Result<()> {
    for proto in PROTOS {
        let path = root.join(proto.output);
        let code = generate_one(root, proto)?;
        if fs::read_to_string(&path).ok().as_deref() != Some(&code) {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, code).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// The generated files that are not what would be generated now.
///
/// # Errors
///
/// If a `.proto` file does not compile or cannot be documented.
pub fn stale(root: &Path) -> Result<Vec<PathBuf>> {
    let mut stale = Vec::new();
    for proto in PROTOS {
        let path = root.join(proto.output);
        if fs::read_to_string(&path).ok() != Some(generate_one(root, proto)?) {
            stale.push(path);
        }
    }
    Ok(stale)
}

fn generate_one(root: &Path, proto: &Proto) -> Result<String> {
    let descriptors = protox::compile([root.join(proto.file)], [root.join(proto.include)])
        .with_context(|| format!("cannot compile {}", proto.file))?;
    let folder = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .codec_path(proto.codec)
        .out_dir(folder.path())
        .compile_fds(descriptors)
        .with_context(|| format!("cannot generate code for {}", proto.file))?;
    let code = fs::read_to_string(folder.path().join(format!("{}.rs", proto.package)))?;
    if let Some(line) = code_in_docs(&code) {
        bail!(
            "rustdoc would take a comment of {} for Rust code, and test it: begin the line with fewer than four spaces, \
             or keep the comment from becoming documentation by an empty line after it: {line}",
            proto.file
        );
    }
    Ok(code)
}

/// The first line of documentation that Markdown takes for code: a drawing, as a rule, and never a test of ours.
fn code_in_docs(code: &str) -> Option<&str> {
    let is_code = |line: &&str| line.starts_with("    ") || line.trim_start().starts_with("```");
    // The generator itself puts one space after the slashes.
    code.lines()
        .filter_map(|line| line.trim_start().strip_prefix("///"))
        .map(|text| text.strip_prefix(' ').unwrap_or(text))
        .find(is_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_in_documentation_are_found() {
        assert_eq!(code_in_docs("/// One.\n///    two\n    pub three: u32,\n"), None);
        assert_eq!(code_in_docs("/// One.\n    ///     a ──▶ b\n"), Some("    a ──▶ b"));
        assert_eq!(code_in_docs("/// ```\n"), Some("```"));
    }

    #[test]
    fn comments_become_documentation_and_stale_code_is_told() {
        let root = tempfile::tempdir().unwrap();
        for proto in PROTOS {
            let path = root.path().join(proto.file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let source = format!(
                "syntax = \"proto3\";\npackage {};\n// What is said.\nmessage Word {{}}\n",
                proto.package
            );
            fs::write(&path, source).unwrap();
        }
        assert_eq!(stale(root.path()).unwrap().len(), PROTOS.len());
        generate(root.path()).unwrap();
        assert_eq!(stale(root.path()).unwrap(), Vec::<PathBuf>::new());
        for proto in PROTOS {
            let code = fs::read_to_string(root.path().join(proto.output)).unwrap();
            assert!(code.contains("/// What is said.\n"), "{code}");
        }
    }

    #[test]
    fn a_drawing_that_would_become_a_test_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let proto = &PROTOS[0];
        let path = root.path().join(proto.file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let source = format!(
            "syntax = \"proto3\";\npackage {};\n//     a ──▶ b\nmessage Word {{}}\n",
            proto.package
        );
        fs::write(&path, source).unwrap();
        let error = generate_one(root.path(), proto).unwrap_err().to_string();
        assert!(error.contains("a ──▶ b"), "{error}");
    }
}
