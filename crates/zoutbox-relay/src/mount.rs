//! The options that the share is mounted with, as the kernel tells them in `/proc/self/mountinfo` (proc(5)).

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zoutbox_storage::System;

const MOUNTS: &str = "/proc/self/mountinfo";
const MAX_MOUNTS: usize = 4 * 1024 * 1024;

/// The file system's options of the mount that `path` is on.
pub(crate) fn options(system: &System, path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = system.read_small(Path::new(MOUNTS), MAX_MOUNTS).ok()?;
    options_in(&String::from_utf8_lossy(&mounts), &path)
}

/// The deepest mount wins, and of several on one point the last.
fn options_in(mounts: &str, path: &Path) -> Option<String> {
    let over = mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = unescaped(mount.split(' ').nth(4)?);
        let point = Path::new(std::ffi::OsStr::from_bytes(&point));
        path.starts_with(point).then(|| Some((point.components().count(), file_system.split(' ').nth(2)?)))?
    });
    over.max_by_key(|(depth, _)| *depth).map(|(_, options)| options.to_owned())
}

/// Blanks and backslashes in a mount point are written as a backslash and three octal digits.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let octal =
            behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = octal.and_then(|_| behind.get(3..)).unwrap_or(behind);
    }
    bytes
}

/// The address that an option of that name has.
pub(crate) fn address(options: &str, name: &str) -> Option<IpAddr> {
    let mut values = options.split(',').filter_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    values.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 22 0:40 / /mnt rw,relatime shared:9 - tmpfs tmpfs rw,size=1k
51 40 0:50 / /mnt/out\\040box rw,relatime shared:30 - nfs4 10.0.0.1:/pool rw,vers=4.2,wsize=1048576,hard,clientaddr=10.0.0.2,local_lock=none,addr=10.0.0.1
52 40 0:51 / /mnt/three rw,relatime - nfs 10.0.0.1:/pool rw,vers=3,mountaddr=10.0.0.9,addr=10.0.0.1
";

    #[test]
    fn the_options_are_those_of_the_deepest_mount() {
        let of = |path: &str| options_in(SOME, Path::new(path)).expect("a mount");
        assert_eq!(of("/mnt"), "rw,size=1k");
        assert_eq!(of("/mnt/out"), "rw,size=1k");
        assert_eq!(of("/var"), "rw");
        let options = of("/mnt/out box/share");
        assert_eq!(address(&options, "clientaddr"), "10.0.0.2".parse().ok());
        assert_eq!(address(&options, "addr"), "10.0.0.1".parse().ok());
        let options = of("/mnt/three");
        assert_eq!(
            (address(&options, "clientaddr"), address(&options, "addr")),
            (None, "10.0.0.1".parse().ok())
        );
    }

    #[test]
    fn this_machine_tells_its_mounts() {
        assert!(options(&System::real(), Path::new("/")).is_some());
        assert_eq!(options(&System::real(), Path::new("/no/such/directory")), None);
    }

    #[test]
    fn nonsense_has_no_options() {
        for nonsense in ["", " - ", "a b c d /\\9 f - g", "1 2 3 4 / - x y\n", "\\", "1 2 3 4 /\\04"] {
            assert_eq!(options_in(nonsense, Path::new("/x")), None, "{nonsense:?}");
        }
        assert_eq!(address("clientaddr=fe80::1%eth0,addr", "clientaddr"), None);
    }
}
