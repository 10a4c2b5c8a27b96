//! Reading `/proc/self/mountinfo`. What it can't read it passes by; it never panics.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::Mount;

/// What tells a path's mount from the others.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The mount's number, from statx(2): Linux 5.8 or later.
    pub id: Option<u64>,
    /// The device's major and minor number.
    pub device: (u32, u32),
    /// The path, without links in it.
    pub path: &'a Path,
}

/// The mount that holds a path: by its number, or else the last one (they can lie on top of each other) of those with the
/// longest mount point above the path, on the path's device if there is one.
#[must_use]
pub fn find(mounts: Vec<Mount>, wanted: Wanted) -> Option<Mount> {
    if let Some(found) = mounts.iter().find(|mount| Some(mount.id) == wanted.id) {
        return Some(found.clone());
    }
    // On btrfs a file's device is none that is mounted.
    let known = mounts.iter().any(|mount| mount.device == wanted.device);
    let holds =
        |mount: &Mount| wanted.path.starts_with(&mount.point) && (!known || mount.device == wanted.device);
    mounts.into_iter().filter(holds).max_by_key(|mount| mount.point.components().count())
}

/// Every line that is one.
#[must_use]
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, with any number of fields before the dash.
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let _parent = fields.next()?;
    let device = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let inside = OsString::from_vec(unescaped(fields.next()?));
    let point = PathBuf::from(OsString::from_vec(unescaped(fields.next()?)));
    let of_mount = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(&unescaped(fields.next()?)).into_owned();
    let source = OsString::from_vec(unescaped(fields.next()?));
    let of_file_system = fields.next().unwrap_or_default();
    Some(Mount {
        id,
        device: (device.0.parse().ok()?, device.1.parse().ok()?),
        inside,
        point,
        kind,
        source,
        options: options(of_mount).chain(options(of_file_system)).collect(),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn options(field: &[u8]) -> impl Iterator<Item = (String, Option<String>)> {
    let named = field.split(|byte| *byte == b',').filter(|option| !option.is_empty());
    named.map(|option| {
        let text = OsStr::from_bytes(&unescaped(option)).to_string_lossy().into_owned();
        match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (text, None),
        }
    })
}

/// The kernel writes a space as `\040`, and tab, newline, backslash and hash alike.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        match behind.split_at_checked(3).filter(|_| *first == b'\\') {
            Some((digits, behind)) if octal(digits).is_some() => {
                bytes.extend(octal(digits));
                rest = behind;
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    // `from_str_radix` would take a sign.
    let only_digits = digits.iter().all(|digit| (b'0'..=b'7').contains(digit));
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok().filter(|_| only_digits)
}
