//! `zoutbox init`: makes a share, or says that there is one.

use zoutbox_storage::{Share, System};

use crate::cli::InitArguments;
use crate::exit::{Exit, Failure};
use crate::output::Output;

pub(crate) fn run(system: &System, arguments: &InitArguments) -> Result<Exit, Failure> {
    let (share, new) = Share::init(system, &arguments.root)?;
    let what = if new { "made share" } else { "is a share already:" };
    let root = arguments.root.display();
    let mut output = Output::new();
    if new {
        output.line(&format!("{what} {} at {root}", share.id))?;
    } else {
        output.line(&format!("{root} {what} {}", share.id))?;
    }
    output.flush()?;
    Ok(Exit::Ok)
}
