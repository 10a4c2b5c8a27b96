//! Writes the golden files of `fixtures/v1/` and their dumps: `cargo run -p zoutbox-format --example make_fixtures`.
//!
//! Only for adding files before a release: a released one is never written again, so this refuses to change any.
#![expect(clippy::disallowed_methods, reason = "a tool for maintainers writes to the checkout")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "its mistakes are its maintainer's"
)]

#[path = "../tests/golden/files.rs"]
mod files;

use std::fs;
use std::path::Path;

fn main() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/v1");
    fs::create_dir_all(&directory).expect("a directory for the golden files");
    for (name, bytes) in files::golden() {
        let mut text = String::new();
        zoutbox_format::dump::dump(&bytes[..], bytes.len() as u64, &mut text).expect("a slice can be read");
        write_new(&directory.join(name), &bytes);
        write_new(&directory.join(format!("{name}.dump")), text.as_bytes());
    }
}

fn write_new(path: &Path, bytes: &[u8]) {
    match fs::read(path) {
        Ok(found) if found == bytes => {}
        Ok(_) => panic!("{} is there and differs: golden files are never edited", path.display()),
        Err(_) => fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    }
}
