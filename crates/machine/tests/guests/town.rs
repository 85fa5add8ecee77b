//! The outside, for tests: names and addresses that count as public, behind which servers of the test listen on this
//! computer's loopback. Everything that a guest's gateway connects to is written down.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use model::document::Name;
use sublet_machine::network::{Outside, Own};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

#[derive(Default)]
pub struct Town {
    /// The answers for a name, in turns.
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    lookups: Mutex<Vec<String>>,
    doors: Mutex<HashMap<SocketAddr, SocketAddr>>,
    dialled: Mutex<Vec<SocketAddr>>,
    own: Mutex<Vec<Own>>,
}

/// Connections that a server has.
#[derive(Default)]
pub struct Held {
    pub now: AtomicUsize,
    pub most: AtomicUsize,
}

impl Town {
    /// A name has these addresses; each list is one answer.
    pub fn name(&self, name: &str, answers: &[&[&str]]) {
        let parse =
            |list: &&[&str]| list.iter().map(|address| address.parse().expect("an address")).collect();
        self.names.lock().expect("names").insert(name.to_owned(), answers.iter().map(parse).collect());
    }

    /// How often a name was looked up.
    pub fn lookups(&self, name: &str) -> usize {
        self.lookups.lock().expect("lookups").iter().filter(|other| *other == name).count()
    }

    /// The machine is in such a network.
    pub fn live_in(&self, address: &str, bits: u8) {
        self.own.lock().expect("own").push(Own { address: address.parse().expect("an address"), bits });
    }

    /// All that was connected to.
    pub fn dialled(&self) -> Vec<SocketAddr> {
        self.dialled.lock().expect("dialled").clone()
    }

    /// Lets a public address lead to a server here.
    pub fn door(&self, public: &str, server: SocketAddr) {
        self.doors.lock().expect("doors").insert(public.parse().expect("an address"), server);
    }

    /// A web server at a public address; each page says its name, and what was asked.
    pub async fn web(&self, public: &str, says: &'static str) {
        self.serve(public, move |mut stream| {
            async move {
                let mut bytes = vec![0; 4096];
                let length = stream.read(&mut bytes).await.unwrap_or(0);
                let asked = String::from_utf8_lossy(&bytes[..length]).into_owned();
                let page = format!("{says}\n{asked}");
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
                let _ = stream.write_all((head + &page).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
            .boxed()
        })
        .await;
    }

    /// A server that says back what it hears.
    pub async fn echo(&self, public: &str) {
        self.serve(public, |mut stream| {
            async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
            .boxed()
        })
        .await;
    }

    /// A server that says nothing and hangs up when its client does.
    pub async fn hold(&self, public: &str) -> Arc<Held> {
        let held = Arc::new(Held::default());
        let counts = held.clone();
        self.serve(public, move |mut stream| {
            let counts = counts.clone();
            async move {
                let now = counts.now.fetch_add(1, Ordering::Relaxed) + 1;
                counts.most.fetch_max(now, Ordering::Relaxed);
                let _ = stream.read(&mut [0]).await;
                counts.now.fetch_sub(1, Ordering::Relaxed);
            }
            .boxed()
        })
        .await;
        held
    }

    pub async fn serve(
        &self,
        public: &str,
        serve: impl Fn(TcpStream) -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.door(public, listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    }

    /// A server of small files (TFTP): each says what it is called. It speaks in datagrams.
    pub async fn files(&self, public: &str) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        self.door(public, socket.local_addr().expect("an address"));
        tokio::spawn(async move {
            let mut datagram = vec![0; 65_535];
            while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
                // "Read", a name, a nought.
                if let [0, 1, rest @ ..] = &datagram[..length] {
                    let name: Vec<u8> = rest.iter().copied().take_while(|byte| *byte != 0).collect();
                    let _ = socket.send_to(&[&[0, 3, 0, 1], name.as_slice(), b"\n"].concat(), from).await;
                }
            }
        });
    }

    fn go(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        self.dialled.lock().expect("dialled").push(to);
        self.doors
            .lock()
            .expect("doors")
            .get(&to)
            .copied()
            .ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }
}

impl Outside for Town {
    fn resolve(&self, name: &Name) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.lookups.lock().expect("lookups").push(name.to_string());
        let mut names = self.names.lock().expect("names");
        let answer = names.get_mut(name.as_str()).map(|answers| {
            answers.rotate_left(1);
            answers.last().cloned().unwrap_or_default()
        });
        async move { answer.ok_or_else(|| io::ErrorKind::NotFound.into()) }.boxed()
    }

    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        let door = self.go(to);
        async move { TcpStream::connect(door?).await }.boxed()
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<UdpSocket>> {
        let door = self.go(to);
        async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            socket.connect(door?).await?;
            Ok(socket)
        }
        .boxed()
    }

    fn own(&self) -> Arc<[Own]> {
        self.own.lock().expect("own").iter().copied().collect()
    }
}
