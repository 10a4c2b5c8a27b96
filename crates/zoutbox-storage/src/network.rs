//! Datagrams out: hints that may be lost, delayed and repeated, and that nothing waits for.

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Where datagrams go out.
pub trait Network: Debug + Send + Sync {
    /// A line to one address. Sends nothing yet.
    ///
    /// # Errors
    /// What socket(2), bind(2) and connect(2) say; that there is no route, for example.
    fn line_to(&self, address: SocketAddr) -> io::Result<Box<dyn Line>>;
}

/// A line to one address, for datagrams.
pub trait Line: Debug + Send + Sync {
    /// This end's address: the one that datagrams come from, by the routes there are.
    ///
    /// # Errors
    /// What getsockname(2) says.
    fn local_address(&self) -> io::Result<SocketAddr>;

    /// Sends one datagram, without ever waiting. Success says nothing about its arrival.
    ///
    /// # Errors
    /// What send(2) says; also that an earlier datagram was refused, because nobody listens there. This one was sent nevertheless.
    fn send(&self, datagram: &[u8]) -> io::Result<()>;
}

/// UDP.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealNetwork;

impl Network for RealNetwork {
    #[expect(clippy::disallowed_methods, reason = "this is the network")]
    fn line_to(&self, address: SocketAddr) -> io::Result<Box<dyn Line>> {
        let socket = match address {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
        };
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        Ok(Box::new(socket))
    }
}

impl Line for UdpSocket {
    fn local_address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match UdpSocket::send(self, datagram) {
            Ok(_) => Ok(()),
            // Full buffers: it is lost, as it may be.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            // The answer to an earlier one, told in place of sending this one.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                UdpSocket::send(self, datagram).and(Err(error))
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the other end of the line")]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ear(address: &str) -> io::Result<UdpSocket> {
        let ear = UdpSocket::bind(address)?;
        ear.set_read_timeout(Some(Duration::from_mins(1)))?;
        Ok(ear)
    }

    #[test]
    fn a_datagram_arrives_from_the_address_that_the_line_names() {
        // Not every container has IPv6.
        let six = ear("[::1]:0").ok();
        for ear in [ear("127.0.0.1:0").expect("loopback")].into_iter().chain(six) {
            let line = RealNetwork.line_to(ear.local_addr().expect("bound")).expect("a line");
            line.send(b"ring").expect("sent");
            let mut buffer = [0; 16];
            let (length, from) = ear.recv_from(&mut buffer).expect("arrives");
            assert_eq!((&buffer[..length], from), (&b"ring"[..], line.local_address().expect("bound")));
        }
    }

    #[test]
    fn a_refusal_is_told_and_takes_no_later_datagram_with_it() {
        let first = ear("127.0.0.1:0").expect("loopback");
        let address = first.local_addr().expect("bound");
        let line = RealNetwork.line_to(address).expect("a line");
        drop(first);
        line.send(b"lost").expect("nothing is known yet");
        // On loopback the refusal is there as soon as the datagram was sent; whoever listens again gets the next one.
        let second = ear(&address.to_string()).expect("free again");
        assert_eq!(line.send(b"kept").expect_err("refused").kind(), ErrorKind::ConnectionRefused);
        let mut buffer = [0; 16];
        let (length, _) = second.recv_from(&mut buffer).expect("arrives");
        assert_eq!(&buffer[..length], b"kept");
    }
}
