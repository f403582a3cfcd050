//! In a bundle, libraries stand in `lib` beside the programs' `bin`; this way they are found there, also by each other.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN/../lib,--disable-new-dtags");
    }
}
