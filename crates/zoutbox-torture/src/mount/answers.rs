//! The requests of the kernel, each turned into a call of the [`Disk`](crate::disk::Disk) and its answer.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use nix::errno::Errno;

use super::{Shared, State, to_kernel};
use crate::disk::{Answer, Attributes, Owned};
use crate::plan::Fault;
use crate::request::Kind;

/// Nothing that was answered is believed a second time.
const NEVER: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;
/// Plenty, in blocks.
const ROOM: u64 = 1 << 24;
const NAME: &str = "zoutbox-torture";

pub(super) fn mount(shared: Shared, point: &Path) -> std::io::Result<BackgroundSession> {
    let mut config = Config::default();
    // No permissions: the kernel would ask for the attributes of each directory on the way.
    config.mount_options = vec![MountOption::FSName(NAME.into()), MountOption::Subtype(NAME.into())];
    fuser::spawn_mount(shared, point, &config)
}

/// A change of content that is `version` changes old looks as old as that.
fn time(version: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(version)
}

fn shown(laid: u64, it: &Attributes) -> FileAttr {
    let time = time(it.version);
    FileAttr {
        ino: INodeNo(to_kernel(laid, it.number)),
        size: it.length,
        blocks: it.length.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: UNIX_EPOCH,
        kind: if it.directory { FileType::Directory } else { FileType::RegularFile },
        perm: u16::try_from(it.owned.mode & 0o7777).unwrap_or_default(),
        nlink: it.links,
        uid: it.owned.user,
        gid: it.owned.group,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn error(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno as i32)
}

/// As a directory hands its group and its bit on.
fn owned(state: &State, directory: usize, request: &Request, mode: u32, kind: FileType) -> Owned {
    let parent = state.disk.attributes(directory).map(|it| it.owned).ok();
    let inherited = parent.filter(|parent| parent.mode & 0o2000 != 0);
    let bit = if inherited.is_some() && kind == FileType::Directory { 0o2000 } else { 0 };
    Owned {
        mode: mode & 0o7777 | bit,
        user: request.uid(),
        group: inherited.map_or_else(|| request.gid(), |parent| parent.group),
    }
}

impl Shared {
    /// A request for which no fault is in store.
    fn plain<T>(
        &self,
        request: &Request,
        kind: Kind,
        (number, name): (INodeNo, &OsStr),
        work: impl FnOnce(&mut State) -> Answer<T>,
    ) -> Answer<T> {
        let what = |state: &State| format!("{} {}", state.shown(number.0), name.display());
        self.request(request.pid(), kind, what, work, |_, _| Err(Errno::EIO))
    }
}

fn attributes(state: &State, it: &Attributes) -> FileAttr {
    shown(state.laid, it)
}

const NONE: &str = "";

impl Filesystem for Shared {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.plain(request, Kind::LookUp, (parent, name), |state| {
            let it = state.disk.look_up(state.number_of(parent.0)?, name)?;
            Ok(attributes(state, &it))
        });
        entry(found, reply);
    }

    fn getattr(&self, request: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.plain(request, Kind::Attributes, (number, NONE.as_ref()), |state| {
            let it = state.disk.attributes(state.number_of(number.0)?)?;
            Ok(attributes(state, &it))
        });
        attribute(found, reply);
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.plain(request, Kind::SetAttributes, (number, NONE.as_ref()), |state| {
            let number = state.number_of(number.0)?;
            if let Some(size) = size {
                state.disk.set_length(number, usize::try_from(size).map_err(|_| Errno::EFBIG)?)?;
            }
            state.disk.set_owned(number, |owned| {
                owned.mode = mode.map_or(owned.mode, |mode| mode & 0o7777);
                owned.user = user.unwrap_or(owned.user);
                owned.group = group.unwrap_or(owned.group);
            })?;
            let it = state.disk.attributes(number)?;
            Ok(attributes(state, &it))
        });
        attribute(set, reply);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let answer = self.plain(request, Kind::MakeDirectory, (parent, name), |state| {
            let parent = state.number_of(parent.0)?;
            let owned = owned(state, parent, request, mode, FileType::Directory);
            let it = state.disk.make_directory(parent, name, owned)?;
            Ok(attributes(state, &it))
        });
        entry(answer, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.plain(request, Kind::Unlink, (parent, name), |state| {
            state.disk.unlink(state.number_of(parent.0)?, name)
        });
        empty(done, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.plain(request, Kind::RemoveDirectory, (parent, name), |state| {
            state.disk.remove_directory(state.number_of(parent.0)?, name)
        });
        empty(done, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let what = |state: &State| {
            let (from, to) = (state.shown(parent.0), state.shown(new_parent.0));
            format!("{from} {} to {to} {}", name.display(), new_name.display())
        };
        let work = |state: &mut State| {
            // Nobody here asks for an exchange, nor not to replace.
            if !flags.is_empty() {
                return Err(Errno::EINVAL);
            }
            let (from, to) = (state.number_of(parent.0)?, state.number_of(new_parent.0)?);
            state.disk.rename((from, name), (to, new_name))
        };
        let done = self.request(request.pid(), Kind::Rename, what, work, |_, _| Err(Errno::EIO));
        empty(done, reply);
    }

    fn link(&self, request: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let made = self.plain(request, Kind::Link, (parent, name), |state| {
            let (number, parent) = (state.number_of(number.0)?, state.number_of(parent.0)?);
            let it = state.disk.link(number, parent, name)?;
            Ok(attributes(state, &it))
        });
        entry(made, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let answer = self.plain(request, Kind::Create, (parent, name), |state| {
            let parent = state.number_of(parent.0)?;
            let owned = owned(state, parent, request, mode, FileType::RegularFile);
            let it = state.disk.create(parent, name, owned)?;
            Ok(attributes(state, &it))
        });
        match answer {
            Ok(it) => {
                reply.created(&NEVER, &it, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(errno) => reply.error(error(errno)),
        }
    }

    fn open(&self, request: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let found = self.plain(request, Kind::Open, (number, NONE.as_ref()), |state| {
            state.disk.attributes(state.number_of(number.0)?)
        });
        match found {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(errno) => reply.error(error(errno)),
        }
    }

    fn read(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.plain(request, Kind::Read, (number, NONE.as_ref()), |state| {
            let offset = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
            let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
            state.disk.read(state.number_of(number.0)?, offset, size).map(<[u8]>::to_vec)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(error(errno)),
        }
    }

    fn write(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let what = |state: &State| format!("{} {} bytes at {offset}", state.shown(number.0), data.len());
        let write = |state: &mut State, data: &[u8]| {
            let offset = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
            state.disk.write(state.number_of(number.0)?, offset, data)?;
            u32::try_from(data.len()).map_err(|_| Errno::EINVAL)
        };
        let faulty = |state: &mut State, fault| match fault {
            Fault::Space => Err(Errno::ENOSPC),
            Fault::Short if data.len() > 1 => write(state, data.get(..data.len() / 2).unwrap_or_default()),
            Fault::Short => write(state, data),
            Fault::Write | Fault::Sync => Err(Errno::EIO),
        };
        let written = self.request(request.pid(), Kind::Write, what, |state| write(state, data), faulty);
        match written {
            Ok(count) => reply.written(count),
            Err(errno) => reply.error(error(errno)),
        }
    }

    fn fsync(&self, request: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let what = |state: &State| state.shown(number.0);
        let work = |state: &mut State| state.disk.sync(state.number_of(number.0)?);
        let faulty = |state: &mut State, _| {
            let number = state.number_of(number.0)?;
            if let Some(watch) = &mut state.watch {
                state.disk.lose_unsynced(number, &mut watch.random);
            }
            Err(Errno::EIO)
        };
        empty(self.request(request.pid(), Kind::Sync, what, work, faulty), reply);
    }

    fn fsyncdir(&self, request: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let done = self.plain(request, Kind::SyncDirectory, (number, NONE.as_ref()), |state| {
            state.disk.sync_directory(state.number_of(number.0)?)
        });
        empty(done, reply);
    }

    fn readdir(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.plain(request, Kind::ReadDirectory, (number, NONE.as_ref()), |state| {
            let listed = state.disk.list(state.number_of(number.0)?)?;
            let each = listed.into_iter().map(|(name, it)| (name, attributes(state, &it)));
            Ok(each.collect::<Vec<_>>())
        });
        let listed = match listed {
            Ok(listed) => listed,
            Err(errno) => return reply.error(error(errno)),
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        // An entry's offset is where the one behind it starts.
        for ((name, it), behind) in listed.iter().zip(1_u64..).skip(skipped) {
            if reply.add(it.ino, behind, it.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, request: &Request, number: INodeNo, reply: ReplyStatfs) {
        match self.plain(request, Kind::Space, (number, NONE.as_ref()), |_| Ok(())) {
            Ok(()) => reply.statfs(ROOM, ROOM, ROOM, ROOM, ROOM, BLOCK, 255, BLOCK),
            Err(errno) => reply.error(error(errno)),
        }
    }
}

fn entry(found: Answer<FileAttr>, reply: ReplyEntry) {
    match found {
        Ok(it) => reply.entry(&NEVER, &it, Generation(0)),
        Err(errno) => reply.error(error(errno)),
    }
}

fn attribute(found: Answer<FileAttr>, reply: ReplyAttr) {
    match found {
        Ok(it) => reply.attr(&NEVER, &it),
        Err(errno) => reply.error(error(errno)),
    }
}

fn empty(done: Answer<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(error(errno)),
    }
}
