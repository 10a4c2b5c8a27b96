//! Where the doorbell hangs: the UDP address that this relay listens at, and the one that it announces in its lease.
//!
//! A ring is a hint that saves a poll interval, so nothing here stops a relay: what can't be had is told in the log, and the
//! relay polls.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, de::Error};
use tokio::net::UdpSocket;
use zoutbox_format::doorbell::can_be_rung;
use zoutbox_storage::mount::Mount;
use zoutbox_storage::{Network, Share, System};

/// Any: datagrams are not sent there, only the way there is asked for.
const NFS_PORT: u16 = 2049;

/// Whether to listen, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Doorbell {
    /// On NFS, at this host's address on the way to the file server, any port. Elsewhere not: on one host inotify does it.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// At this address; port 0 is any.
    At(SocketAddr),
}

impl std::str::FromStr for Doorbell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|_| "not off, auto or an address such as 10.0.0.1:4711".into()),
        }
    }
}

impl<'de> Deserialize<'de> for Doorbell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Where to listen, and what to announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DoorbellOptions {
    /// Where to listen.
    pub at: Doorbell,
    /// What to announce instead; port 0 is the port that is listened at.
    pub announce: Option<SocketAddr>,
}

impl DoorbellOptions {
    /// What can't work whatever happens.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let reachable =
            |address: SocketAddr| can_be_rung(&SocketAddr::new(address.ip(), address.port().max(1)));
        match (self.at, self.announce) {
            (Doorbell::At(_), Some(announced)) if !reachable(announced) => {
                Err(("--doorbell-announce", format!("{announced} is no address that a writer can send to")))
            }
            (Doorbell::At(address), None) if !reachable(address) => {
                let reason = format!(
                    "{address} is no address that a writer can send to: name one with --doorbell-announce"
                );
                Err(("--doorbell", reason))
            }
            (Doorbell::Auto | Doorbell::Off, Some(_)) => {
                Err(("--doorbell-announce", "needs --doorbell with the address to listen at".into()))
            }
            _ => Ok(()),
        }
    }
}

/// A socket that is listened at, and the address to announce for it.
#[derive(Debug)]
pub struct Ear {
    pub(crate) socket: UdpSocket,
    pub(crate) announced: SocketAddr,
}

impl Ear {
    /// Begins to listen; `None` when that is not wanted or can't be had.
    pub(crate) async fn open(system: &System, share: &Share, options: DoorbellOptions) -> Option<Self> {
        let address = match options.at {
            Doorbell::Off => return None,
            Doorbell::At(address) => address,
            Doorbell::Auto => {
                let (system, share) = (system.clone(), share.clone());
                let host =
                    tokio::task::spawn_blocking(move || host_on_the_way(&system, &share)).await.ok()??;
                SocketAddr::new(host, 0)
            }
        };
        let bound = UdpSocket::bind(address).await.and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (local, socket) = bound
            .inspect_err(|error| {
                tracing::warn!(
                    "no doorbell: can't listen at {address} ({error}): polling only; see --doorbell"
                );
            })
            .ok()?;
        let mut announced = options.announce.unwrap_or(local);
        if announced.port() == 0 {
            announced.set_port(local.port());
        }
        tracing::info!("doorbell at {local}, announced as {announced}");
        Some(Self { socket, announced })
    }
}

/// This host's address as the other clients of its NFS server may reach it; `None` for what is no NFS.
fn host_on_the_way(system: &System, share: &Share) -> Option<IpAddr> {
    let mount = system.disk.mount(share.layout.root());
    let mount = mount.inspect_err(|error| tracing::info!("no doorbell: {error}; see --doorbell")).ok()?;
    if !mount.is_nfs() {
        return None;
    }
    let host = client(&*system.network, &mount);
    if host.is_none() {
        tracing::info!(
            "no doorbell: {mount} does not tell this host's address to other hosts; see --doorbell"
        );
    }
    host
}

/// The address that this client has for the server, unless it means something else on other hosts.
fn client(network: &dyn Network, mount: &Mount) -> Option<IpAddr> {
    let address = |option| mount.value(option)?.parse::<IpAddr>().ok();
    let client = address("clientaddr").or_else(|| {
        // NFS 3 names only the server.
        let line = network.line_to(SocketAddr::new(address("addr")?, NFS_PORT)).ok()?;
        Some(line.local_address().ok()?.ip())
    });
    // A server on this host has clients on others, and another address for them.
    client.filter(|host| !host.is_loopback() && can_be_rung(&SocketAddr::new(*host, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use zoutbox_storage::Line;
    use zoutbox_storage::mount::parse;

    fn at(address: &str) -> Doorbell {
        address.parse().expect("an address")
    }

    #[test]
    fn a_doorbell_is_off_automatic_or_at_an_address() {
        assert_eq!("auto".parse(), Ok(Doorbell::Auto));
        assert_eq!("off".parse(), Ok(Doorbell::Off));
        assert!(matches!("10.0.0.1:0".parse(), Ok(Doorbell::At(_))));
        assert!(matches!("[fd00::1]:4711".parse(), Ok(Doorbell::At(_))));
        for bad in ["", "on", "10.0.0.1", "relay:4711", ":4711", "10.0.0.1:99999"] {
            assert!(bad.parse::<Doorbell>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_no_writer_could_send_to_is_refused_by_option() {
        let check = |at, announce: Option<&str>| {
            let announce = announce.map(|address| address.parse().expect("an address"));
            DoorbellOptions { at, announce }.check().map_err(|(option, _)| option)
        };
        assert_eq!(check(at("10.0.0.1:0"), None), Ok(()));
        assert_eq!(check(at("0.0.0.0:0"), Some("10.0.0.1:0")), Ok(()));
        assert_eq!(check(Doorbell::Auto, None), Ok(()));
        assert_eq!(check(at("0.0.0.0:4711"), None), Err("--doorbell"));
        assert_eq!(check(at("[::]:4711"), None), Err("--doorbell"));
        assert_eq!(check(at("0.0.0.0:4711"), Some("224.0.0.1:1")), Err("--doorbell-announce"));
        assert_eq!(check(Doorbell::Auto, Some("10.0.0.1:1")), Err("--doorbell-announce"));
        assert_eq!(check(Doorbell::Off, Some("10.0.0.1:1")), Err("--doorbell-announce"));
    }

    /// A host with one way out.
    #[derive(Debug)]
    struct Way(&'static str);

    impl Network for Way {
        fn line_to(&self, address: SocketAddr) -> io::Result<Box<dyn Line>> {
            assert_eq!(address.ip().to_string(), "10.0.0.1", "asked for the way to the server");
            Ok(Box::new(Self(self.0)))
        }
    }

    impl Line for Way {
        fn local_address(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::new(self.0.parse().expect("an address"), 50_000))
        }

        fn send(&self, _: &[u8]) -> io::Result<()> {
            panic!("nobody is to hear of this")
        }
    }

    fn client_of(options: &str, way: &'static str) -> Option<String> {
        let mount = format!("51 40 0:50 / /mnt rw,relatime - nfs4 server:/pool rw,vers=4.2,{options}");
        client(&Way(way), &parse(mount.as_bytes())[0]).map(|host| host.to_string())
    }

    #[test]
    fn on_nfs_the_address_is_the_one_that_the_mount_has_or_the_one_that_the_way_to_the_server_has() {
        let both = "clientaddr=10.0.0.2,local_lock=none,addr=10.0.0.1";
        assert_eq!(client_of(both, "10.0.0.3").as_deref(), Some("10.0.0.2"));
        assert_eq!(client_of("mountaddr=10.0.0.9,addr=10.0.0.1", "10.0.0.3").as_deref(), Some("10.0.0.3"));
        assert_eq!(client_of("clientaddr=fd00::2,addr=fd00::1", "").as_deref(), Some("fd00::2"));
        for nobodys in
            ["clientaddr=127.0.0.1", "clientaddr=0.0.0.0", "clientaddr=fe80::1", "hard", "addr=server"]
        {
            assert_eq!(client_of(nobodys, "10.0.0.3"), None, "{nobodys}");
        }
        assert_eq!(client_of("addr=10.0.0.1", "127.0.0.1"), None);
    }

    #[test]
    fn what_is_no_nfs_has_no_automatic_doorbell() {
        let directory = tempfile::tempdir().expect("a directory");
        let (share, _) = Share::init(&System::real(), directory.path()).expect("a share");
        assert_eq!(host_on_the_way(&System::real(), &share), None);
    }
}
