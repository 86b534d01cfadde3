//! `ROS_STATIC_PEERS`: announces the node to hosts that multicast does not reach.
//!
//! The library has no setting for this. It announces the node by multicast, and by unicast to the first twelve
//! participants of this machine (`127.0.0.1`), every ten seconds. This module takes the place of one of these twelve,
//! so that it hears the announcements whether or not an interface can multicast, and the thread `ros_peers` sends the
//! newest one on to each peer. The sequence numbers, the lease and the goodbye stay those of the library. Once a peer
//! has answered, the library knows its addresses, and all else goes without this module.
//!
//! # Ports
//! RTPS 2.5, 9.6.2.3 "Default Port Numbers": participant `i` of a host expects announcements by unicast at
//! PB + DG · domain + d1 + PG · `i` = 7400 + 250 · domain + 10 + 2 · `i`. Nobody knows which `i` are in use at a peer,
//! so all up to [`LAST_PARTICIPANT`] are tried; where nothing listens, the peer's system drops the packet.
//!
//! # Traffic
//! Each [`INTERVAL`], 33 packets of a few hundred bytes per peer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{Clock, MonotonicTime};
use crate::ros::environment::STATIC_PEERS;

/// The last participant index of a peer that is tried, as in rmw_cyclonedds (`MaxAutoParticipantIndex`); rmw_fastrtps
/// has one less (`maxInitialPeersRange` 32).
const LAST_PARTICIPANT: u16 = 32;

/// How often the announcement is sent to each peer.
const INTERVAL: Duration = Duration::from_secs(3);

/// The participants of this machine to whom the library announces the node are 0 to this one.
const LAST_LOCAL_PARTICIPANT: u16 = 11;

/// Longer than any announcement, which has some 60 bytes per network interface.
const BUFFER: usize = 16 * 1024;

/// Where participant `index` of a host expects announcements.
const fn discovery_port(domain: u16, index: u16) -> u16 {
    7400 + 250 * domain + 10 + 2 * index
}

/// The addresses behind the names, without those where the library announces the node by itself. Asks the resolver,
/// which can take seconds; what has no address is left out with a warning.
pub(super) fn resolve(peers: &[String]) -> Vec<Ipv4Addr> {
    let mut addresses = Vec::new();
    for peer in peers {
        match addresses_of(peer) {
            Ok(found) => {
                for address in found {
                    if address != Ipv4Addr::LOCALHOST && !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
            }
            Err(reason) => {
                tracing::warn!("{STATIC_PEERS}: {peer} will not be told of this node: {reason}");
            }
        }
    }
    addresses
}

fn addresses_of(peer: &str) -> Result<Vec<Ipv4Addr>, String> {
    let found: Vec<IpAddr> = match peer.parse() {
        Ok(address) => vec![address],
        Err(_a_name) => (peer, 0).to_socket_addrs().map_err(|e| e.to_string())?.map(|a| a.ip()).collect(),
    };
    let addresses: Vec<Ipv4Addr> = found
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            // This machine has the same name in both.
            IpAddr::V6(address) if address.is_loopback() => Some(Ipv4Addr::LOCALHOST),
            IpAddr::V6(address) => address.to_ipv4_mapped(),
        })
        .collect();
    if addresses.is_empty() {
        Err("it has no IPv4 address, and the built-in DDS has no IPv6".into())
    } else {
        Ok(addresses)
    }
}

/// The address by which a peer sees this machine, unless that is a loopback one or there is no way to the peer.
pub(super) fn own_address_towards(peer: Ipv4Addr) -> Option<Ipv4Addr> {
    // Connecting a UDP socket sends nothing: it only chooses the way.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((peer, discovery_port(0, 0))).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}

/// The place among this machine's participants. To be taken before the library's participant announces itself.
pub(super) struct Place {
    socket: UdpSocket,
    domain: u16,
}

impl Place {
    /// Takes the last place that is free, because participants take the first.
    pub(super) fn take(domain: u16) -> io::Result<Self> {
        let mut result = Err(io::ErrorKind::AddrInUse.into());
        for index in (0..=LAST_LOCAL_PARTICIPANT).rev() {
            result = UdpSocket::bind((Ipv4Addr::LOCALHOST, discovery_port(domain, index)));
            if result.is_ok() {
                break;
            }
        }
        result.map(|socket| Self { socket, domain })
    }
}

/// Owner of the thread.
pub(super) struct StaticPeers {
    stop: Arc<AtomicBool>,
    place: SocketAddr,
    handle: Option<JoinHandle<()>>,
}

impl StaticPeers {
    /// Announces the participant with this GUID to the peers from now on.
    pub(super) fn start(place: Place, guid: [u8; 16], peers: &[Ipv4Addr], clock: Arc<dyn Clock>) -> io::Result<Self> {
        let [prefix @ .., _, _, _, _] = guid;
        let stop = Arc::new(AtomicBool::new(false));
        let forwarder = Forwarder {
            place: place.socket.local_addr()?,
            socket: place.socket,
            sender: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            domain: place.domain,
            prefix,
            peers: peers.iter().map(|address| Peer { address: *address, failed: false }).collect(),
            stop: Arc::clone(&stop),
            clock,
        };
        let place = forwarder.place;
        let handle = std::thread::Builder::new().name("ros_peers".to_owned()).spawn(move || forwarder.run())?;
        Ok(Self { stop, place, handle: Some(handle) })
    }

    /// Sends what the participant has said so far, and ends the thread. To be called when the participant is gone, so
    /// that the peers hear its goodbye.
    pub(super) fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        self.stop.store(true, Ordering::Release);
        // Wakes the thread; should this be lost, it wakes by itself within an interval.
        let _ = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(&[], self.place));
        if handle.join().is_err() {
            tracing::error!("the ros_peers thread panicked");
        }
    }
}

impl Drop for StaticPeers {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

struct Peer {
    address: Ipv4Addr,
    /// Whether the last packet could not be sent, so that this is said once.
    failed: bool,
}

struct Forwarder {
    place: SocketAddr,
    socket: UdpSocket,
    sender: UdpSocket,
    domain: u16,
    prefix: [u8; 12],
    peers: Vec<Peer>,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
}

impl Forwarder {
    fn run(mut self) {
        let mut buffer = vec![0; BUFFER];
        let mut newest: Option<Vec<u8>> = None;
        let mut sent: Option<MonotonicTime> = None;
        loop {
            let now = self.clock.monotonic();
            let due = sent.map_or(Duration::ZERO, |sent| INTERVAL.saturating_sub(now.since(sent)));
            let wait = match &newest {
                Some(datagram) if due.is_zero() => {
                    self.send(datagram);
                    sent = Some(now);
                    INTERVAL
                }
                Some(_) => due,
                None => INTERVAL,
            };
            let stopping = self.stop.load(Ordering::Acquire);
            // What came before the stop is in the socket's queue already.
            let ready = if stopping {
                self.socket.set_nonblocking(true)
            } else {
                self.socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))
            };
            if let Err(error) = ready {
                tracing::error!("{STATIC_PEERS}: the peers are no longer told of this node: {error}");
                return;
            }
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let Some(datagram) = buffer.get(..length) else { continue };
                    match kind(datagram, self.prefix) {
                        Some(Kind::Announcement) => newest = Some(datagram.to_vec()),
                        Some(Kind::Goodbye) => {
                            newest = None;
                            self.send(datagram);
                        }
                        None => {}
                    }
                }
                Err(_nothing_left) if stopping => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    tracing::error!("{STATIC_PEERS}: the peers are no longer told of this node: {error}");
                    return;
                }
            }
        }
    }

    fn send(&mut self, datagram: &[u8]) {
        for peer in &mut self.peers {
            let Some(copy) = copy_for(datagram, self.prefix, peer.address) else { continue };
            let mut result = Ok(0);
            for index in 0..=LAST_PARTICIPANT {
                result = self.sender.send_to(&copy, (peer.address, discovery_port(self.domain, index)));
                if result.is_err() {
                    break;
                }
            }
            if let Err(error) = &result
                && !peer.failed
            {
                tracing::warn!("{STATIC_PEERS}: {} cannot be told of this node: {error}", peer.address);
            }
            peer.failed = result.is_err();
        }
    }
}

/// What a participant says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Announcement,
    Goodbye,
}

/// What of submessages matters here (RTPS 2.5, 9.4.5 "RTPS Submessages").
mod submessage {
    pub(super) const PAD: u8 = 0x01;
    pub(super) const INFO_TS: u8 = 0x09;
    pub(super) const DATA: u8 = 0x15;
    pub(super) const FLAG_LITTLE_ENDIAN: u8 = 0x01;
    pub(super) const FLAG_INLINE_QOS: u8 = 0x02;
    pub(super) const FLAG_DATA: u8 = 0x04;
    /// The writer of participant announcements.
    pub(super) const SPDP_WRITER: [u8; 4] = [0x00, 0x01, 0x00, 0xc2];
}

/// Parameters of an announcement (RTPS 2.5, table "ParameterId values").
mod parameter {
    pub(super) const SENTINEL: u16 = 0x0001;
    pub(super) const DEFAULT_UNICAST_LOCATOR: u16 = 0x0031;
    pub(super) const METATRAFFIC_UNICAST_LOCATOR: u16 = 0x0032;
    pub(super) const METATRAFFIC_MULTICAST_LOCATOR: u16 = 0x0033;
    pub(super) const DEFAULT_MULTICAST_LOCATOR: u16 = 0x0048;
}

/// What the datagram is, if it comes from the participant with this GUID prefix and speaks of it.
fn kind(datagram: &[u8], prefix: [u8; 12]) -> Option<Kind> {
    rewrite(datagram, prefix, |_, _| true).map(|(_, kind)| kind)
}

/// The datagram as a peer needs it: without multicast addresses, because this way is for peers that multicast does not
/// reach, and without loopback addresses when the peer is another host, for whom these mean itself.
fn copy_for(datagram: &[u8], prefix: [u8; 12], peer: Ipv4Addr) -> Option<Vec<u8>> {
    let keep = |id: u16, value: &[u8]| match id {
        parameter::METATRAFFIC_MULTICAST_LOCATOR | parameter::DEFAULT_MULTICAST_LOCATOR => false,
        parameter::DEFAULT_UNICAST_LOCATOR | parameter::METATRAFFIC_UNICAST_LOCATOR => {
            // Kind and port, four bytes each, then sixteen of address; IPv4 uses the last four.
            peer.is_loopback() || value.get(20) != Some(&127)
        }
        _ => true,
    };
    rewrite(datagram, prefix, keep).map(|(bytes, _)| bytes)
}

/// Copies a datagram, leaving out the parameters of the announcement in it that `keep` does not want.
fn rewrite(datagram: &[u8], prefix: [u8; 12], keep: impl Fn(u16, &[u8]) -> bool) -> Option<(Vec<u8>, Kind)> {
    let (header, mut rest) = datagram.split_at_checked(20)?;
    if !header.starts_with(b"RTPS") || header.get(8..)? != prefix {
        return None;
    }
    let mut copy = header.to_vec();
    let mut found = None;
    while !rest.is_empty() {
        let (&[id, flags, low, high], after) = rest.split_first_chunk::<4>()?;
        let little = flags & submessage::FLAG_LITTLE_ENDIAN != 0;
        let (body, next) = match number([low, high], little) {
            // The last one goes to the end, whatever its length.
            0 if !matches!(id, submessage::PAD | submessage::INFO_TS) => (after, <&[u8]>::default()),
            length => after.split_at_checked(usize::from(length))?,
        };
        let mut kept = body.to_vec();
        if id == submessage::DATA && body.get(8..12)? == submessage::SPDP_WRITER {
            found = Some(Kind::Goodbye);
            if flags & submessage::FLAG_DATA != 0 {
                found = Some(Kind::Announcement);
                kept = rewrite_data(body, flags, &keep)?;
            }
        }
        let length = u16::try_from(kept.len()).ok()?;
        copy.extend([id, flags]);
        copy.extend(if little { length.to_le_bytes() } else { length.to_be_bytes() });
        copy.extend(kept);
        rest = next;
    }
    found.map(|kind| (copy, kind))
}

/// The same for the body of a DATA submessage.
fn rewrite_data(body: &[u8], flags: u8, keep: &impl Fn(u16, &[u8]) -> bool) -> Option<Vec<u8>> {
    let little = flags & submessage::FLAG_LITTLE_ENDIAN != 0;
    let to_inline_qos = number(*body.get(2..)?.first_chunk()?, little);
    let mut payload = body.get(4 + usize::from(to_inline_qos)..)?;
    if flags & submessage::FLAG_INLINE_QOS != 0 {
        payload = rewrite_parameters(payload, little, |_, _| true, &mut Vec::new())?;
    }
    let mut kept = body.get(..body.len() - payload.len())?.to_vec();
    // PL_CDR, big or little endian.
    let (encapsulation, parameters) = payload.split_first_chunk::<4>()?;
    let little = match encapsulation {
        [0, 2, ..] => false,
        [0, 3, ..] => true,
        _ => return None,
    };
    kept.extend(encapsulation);
    let after = rewrite_parameters(parameters, little, keep, &mut kept)?;
    kept.extend(after);
    Some(kept)
}

/// The same for a list of parameters; returns what comes after its end.
fn rewrite_parameters<'a>(
    mut list: &'a [u8],
    little: bool,
    keep: impl Fn(u16, &[u8]) -> bool,
    kept: &mut Vec<u8>,
) -> Option<&'a [u8]> {
    loop {
        let (&[id_low, id_high, low, high], after) = list.split_first_chunk::<4>()?;
        let (id, length) = (number([id_low, id_high], little), number([low, high], little));
        if id == parameter::SENTINEL {
            kept.extend([id_low, id_high, low, high]);
            return Some(after);
        }
        let (value, next) = after.split_at_checked(usize::from(length))?;
        if keep(id, value) {
            kept.extend([id_low, id_high, low, high]);
            kept.extend(value);
        }
        list = next;
    }
}

fn number(bytes: [u8; 2], little: bool) -> u16 {
    if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: [u8; 12] = *b"twelve bytes";

    fn parameter(id: u16, value: &[u8]) -> Vec<u8> {
        [&id.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value].concat()
    }

    fn locator(id: u16, address: [u8; 4]) -> Vec<u8> {
        parameter(id, &[&[1, 0, 0, 0, 0xf2, 0x1c, 0, 0], &[0; 12][..], &address].concat())
    }

    /// Header, INFO_TS, DATA from the given writer with these parameters.
    fn message(flags: u8, writer: [u8; 4], inline_qos: &[u8], parameters: &[Vec<u8>]) -> Vec<u8> {
        let body = [
            &[0, 0, 16, 0, 0, 0, 0, 0][..],
            &writer,
            &[0, 0, 0, 0, 7, 0, 0, 0],
            inline_qos,
            &[0, 3, 0, 0],
            &parameters.concat(),
            &[1, 0, 0, 0],
        ]
        .concat();
        let length = (body.len() as u16).to_le_bytes();
        let time = [0x09, 0x01, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        [b"RTPS\x02\x03\x01\x12", &PREFIX[..], &time, &[0x15, flags], &length, &body].concat()
    }

    #[test]
    fn ports_are_those_of_the_specification() {
        assert_eq!(discovery_port(0, 0), 7410);
        assert_eq!(discovery_port(42, 3), 7400 + 42 * 250 + 10 + 6);
        // The largest domain, the last participant: a port that exists.
        assert_eq!(discovery_port(crate::ros::environment::MAX_DOMAIN_ID, LAST_PARTICIPANT), 65_474);
    }

    #[test]
    fn a_peer_gets_the_addresses_that_mean_something_to_it() {
        let name = parameter(0x0062, b"name");
        let [lo, net, group] = [[127, 0, 0, 1], [192, 0, 2, 7], [239, 255, 0, 1]];
        let all: Vec<_> = [0x0031, 0x0032].iter().flat_map(|id| [locator(*id, lo), locator(*id, net)]).collect();
        let groups = vec![locator(0x0033, group), locator(0x0048, group)];
        let qos = [parameter(0x0070, &[1; 16]), vec![1, 0, 0, 0]].concat();
        for (flags, qos) in [(0x05, &[][..]), (0x07, &qos)] {
            let make = |parts: &[&[Vec<u8>]]| message(flags, submessage::SPDP_WRITER, qos, &parts.concat());
            let datagram = make(&[&all, &groups, std::slice::from_ref(&name)]);
            assert_eq!(kind(&datagram, PREFIX), Some(Kind::Announcement));
            let near = copy_for(&datagram, PREFIX, Ipv4Addr::new(127, 0, 0, 2)).unwrap();
            assert_eq!(near, make(&[&all, std::slice::from_ref(&name)]));
            let far = copy_for(&datagram, PREFIX, Ipv4Addr::new(192, 0, 2, 9)).unwrap();
            assert_eq!(far, make(&[&[locator(0x0031, net), locator(0x0032, net), name.clone()]]));
        }
    }

    #[test]
    fn only_announcements_of_the_participant_are_sent_on() {
        let datagram = message(0x05, submessage::SPDP_WRITER, &[], &[]);
        assert_eq!(kind(&datagram, *b"other twelve"), None);
        assert_eq!(kind(&message(0x05, [0, 0, 3, 0xc2], &[], &[]), PREFIX), None, "another writer");
        assert_eq!(kind(&message(0x09, submessage::SPDP_WRITER, &[], &[]), PREFIX), Some(Kind::Goodbye));
        for length in 0..datagram.len() {
            assert_eq!(kind(&datagram[..length], PREFIX), None, "cut to {length}");
        }
    }

    #[test]
    fn peers_become_addresses_and_this_machine_is_left_out() {
        let resolve = |peers: &[&str]| resolve(&peers.iter().map(|&p| p.to_owned()).collect::<Vec<_>>());
        assert_eq!(resolve(&["127.0.0.1", "::1", "localhost"]), [Ipv4Addr::LOCALHOST; 0]);
        let expected = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(127, 0, 0, 2)];
        assert_eq!(resolve(&["192.0.2.1", "127.0.0.2", "192.0.2.1", "fe80::1"]), expected);
        // No resolver is asked for such a name: its only label is too long.
        assert_eq!(resolve(&[&"a".repeat(64), "127.0.0.3"]), [Ipv4Addr::new(127, 0, 0, 3)]);
        assert_eq!(own_address_towards(Ipv4Addr::new(127, 0, 0, 2)), None);
    }
}
