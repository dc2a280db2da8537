//! The generated code in the tree is what the `.proto` files say.

use std::path::PathBuf;

#[test]
fn generated_code_is_current() {
    let stale = xtask::protos::stale(&xtask::run::root()).unwrap();
    assert_eq!(stale, Vec::<PathBuf>::new(), "run `cargo xtask protos`");
}
