//! `zoutbox init`: makes a share, or says that there is one; and says who may do what on it.

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};
use zoutbox_storage::{Ownership, Share, System};

use crate::cli::InitArguments;
use crate::exit::{Exit, Failure};
use crate::output::Output;

pub(crate) fn run(system: &System, arguments: &InitArguments) -> Result<Exit, Failure> {
    let users = arguments.group.as_deref().map(|group| Users::find(group, arguments.relay.as_deref()));
    let users = users.transpose()?;
    let ownership = users.as_ref().map(|users| users.ownership);
    let (share, new) = Share::init_for(system, &arguments.root, ownership)?;
    let what = if new { "made share" } else { "is a share already:" };
    let root = arguments.root.display();
    let mut output = Output::new();
    if new {
        output.line(&format!("{what} {} at {root}", share.id))?;
    } else {
        output.line(&format!("{root} {what} {}", share.id))?;
    }
    if let Some(users) = users {
        output.line(&users.told)?;
    }
    output.flush()?;
    Ok(Exit::Ok)
}

/// Who works on the share, and how that is told.
struct Users {
    ownership: Ownership,
    told: String,
}

impl Users {
    fn find(group: &str, relay: Option<&str>) -> Result<Self, Failure> {
        let producers = find_group(group)?;
        let (uid, relay_group) = match relay {
            Some(name) => find_user(name)?,
            None => (geteuid(), getegid()),
        };
        if relay_group == producers {
            // A producer could then do all that the relay can.
            return Err(Failure::new(
                Exit::Usage,
                format!("--group: {group} is the relay's own group, and must not be the producers' as well"),
            ));
        }
        let ownership = Ownership {
            relay: (uid != geteuid()).then_some(uid.as_raw()),
            relay_group: relay_group.as_raw(),
            producers: producers.as_raw(),
        };
        let told = format!(
            "group {} may append; the relay runs as {}, group {}, and consumers are in both groups",
            group_name(producers),
            user_name(uid),
            group_name(relay_group)
        );
        Ok(Self { ownership, told })
    }
}

fn find_group(text: &str) -> Result<Gid, Failure> {
    let unknown =
        || Failure::new(Exit::Usage, format!("--group: there is no group '{}'", text.escape_debug()));
    let named = Group::from_name(text).ok().flatten().map(|group| group.gid);
    named.or_else(|| text.parse().ok().map(Gid::from_raw)).ok_or_else(unknown)
}

/// A user, and its own group. A number need not be anybody's; then its group has the same one.
fn find_user(text: &str) -> Result<(Uid, Gid), Failure> {
    let unknown =
        || Failure::new(Exit::Usage, format!("--relay: there is no user '{}'", text.escape_debug()));
    if let Some(user) = User::from_name(text).ok().flatten() {
        return Ok((user.uid, user.gid));
    }
    let number: u32 = text.parse().map_err(|_| unknown())?;
    let known = User::from_uid(Uid::from_raw(number)).ok().flatten();
    Ok(known.map_or((Uid::from_raw(number), Gid::from_raw(number)), |user| (user.uid, user.gid)))
}

fn user_name(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: Gid) -> String {
    Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name)
}
