// Package embedded makes a cluster of the replicas themselves: each process runs
// a node, a NATS server with JetStream, and sessions are kept by three of them.
// No other server is needed.
//
// # Nodes
//
// Each node has a name, an address for the others and a folder of its own, and
// knows the addresses of all ([Options]). [Start] returns when a majority is
// there, which takes up to 9 s, since the nodes wait as long before they elect.
// The first start of several nodes wants all of them: those without data never
// begin without one that may have some.
//
// A node alone is a cluster of one, and grows: start others with the addresses
// of all, the first one's too. As soon as three are there, each record is kept
// by three, without a pause for anybody. What is kept by three is never kept by
// fewer again. Two clusters are never merged, since one of them would lose its
// sessions: a folder remembers of which it is, and nodes of others are refused.
//
// # What is lost when
//
// A write is acknowledged when a majority of those that keep it have it on disk.
// So nothing acknowledged is lost if any of the processes are killed, or all of
// them at once, or lose power. Two of three nodes are needed to read and write;
// when the leader of some records is lost, whoever asks for them waits until
// another is elected, 4 to 9 s later. One that is stopped in order hands them
// over at once. With [Options.NoSync] the disk is synced
// once a second instead: all nodes without power at once lose what was
// acknowledged in between, and may lose more than that.
//
// A folder that is lost is no problem while two other nodes have theirs: start
// the node with an empty one.
//
// [Options.Level] may ask for more or for less: all nodes that keep a record, or
// one of them, which others follow. Then a node that is lost takes with it what
// these had not got, and [Promote] puts their copies in its place.
//
// # Security
//
// Clients have no listener but one on the loopback interface, whose random
// password never leaves the process. Nodes know one another by a secret, of
// which a keyed hash goes over the wire, readable for whoever listens there
// unless there is TLS: with [Options.TLS] both sides of each connection show a
// certificate.
package embedded
