//! A way to the server that is cut at the worst moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// Listens, and passes the first connection on to the server, until the client commits: the server hears it, and the client never learns
/// what came of it. Later connections are passed on unharmed. Returns the port.
pub(crate) fn cutting_commits(server: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let client = client.unwrap();
            let upstream = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (answers, asked) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            let cut = number == 0;
            thread::spawn(move || pass(&answers, &asked, false));
            thread::spawn(move || pass(&client, &upstream, cut));
        }
    });
    port
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, cut: bool) {
    let mut buffer = [0; 8_192];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..length];
        let commits = cut && bytes.windows(7).any(|window| window == b"COMMIT\0");
        if commits {
            // The answer must not get through.
            drop(from.shutdown(Shutdown::Both));
        }
        if to.write_all(bytes).is_err() || commits {
            return;
        }
    }
    drop(to.shutdown(Shutdown::Both));
}
