//! Which C library a program or library asks for, read from the file itself.

use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::FileHeader;
use protocol::setup::GlibcVersion;

/// The oldest GNU C library that has every symbol that an ELF file of 64 bits takes from it, as the file's table of needed
/// versions tells; `None` if it takes none.
pub fn needed(file: &[u8]) -> object::Result<Option<GlibcVersion>> {
    let header = FileHeader64::<Endianness>::parse(file)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, file)?;
    let Some((mut libraries, names)) = sections.gnu_verneed(endian, file)? else { return Ok(None) };
    let names = sections.strings(endian, file, names)?;
    let mut newest = None;
    while let Some((_, mut versions)) = libraries.next()? {
        while let Some(version) = versions.next()? {
            // Those of other libraries have other words in front.
            let name = str::from_utf8(version.name(endian, names)?).unwrap_or_default();
            newest = newest.max(name.strip_prefix("GLIBC_").and_then(|number| number.parse().ok()));
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn this_program_needs_a_library_that_this_machine_has() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let said = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output().unwrap().stdout;
        let has = String::from_utf8(said).unwrap().trim().trim_start_matches("glibc ").parse().unwrap();
        let needed = needed(&file).unwrap().unwrap();
        // 2.17 is the oldest that Rust supports.
        assert!(needed >= "2.17".parse().unwrap() && needed <= has, "{needed}, of {has}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(needed(b"").is_err());
        assert!(needed(b"\x7fELF\x02\x01\x01 and no more").is_err());
        assert!(needed(b"#!/bin/sh\nexit 0\n").is_err());
    }
}
