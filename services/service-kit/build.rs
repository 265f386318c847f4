//! Tells the library which compiler it is compiled with.

use std::env;
use std::process::Command;

fn main() {
    let rustc = env::var_os("RUSTC").expect("cargo names the compiler");
    let said = Command::new(rustc).arg("--version").output();
    let said = said.expect("the compiler can be started").stdout;
    let version = String::from_utf8(said).expect("it says its version in UTF-8");
    println!("cargo::rustc-env=SERVICE_KIT_TOOLCHAIN={}", version.trim());
    // Cargo runs this again for another compiler.
    println!("cargo::rerun-if-changed=build.rs");
}
