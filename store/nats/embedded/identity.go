package embedded

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// An identity is what a folder remembers of itself. Streams of two clusters
// that meet are deleted in one of them, so a folder belongs to one cluster, and
// nodes of different ones do not connect.
type identity struct {
	Format  int    `json:"format"`
	Node    string `json:"node"`
	Cluster string `json:"cluster,omitempty"` // empty: it is not of one yet
}

const (
	identityFile   = "node.json"
	identityFormat = 1

	// defaultCluster is the name of one that was made by several nodes at once.
	// One that grew out of a single node has a name that no other has.
	defaultCluster = "coatcheck"
)

// readIdentity returns what the folder is, or what it is to be.
func readIdentity(dir, node string) (identity, error) {
	id := identity{Format: identityFormat, Node: node}
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return id, err
	}
	var found identity
	if err := json.Unmarshal(text, &found); err != nil {
		return id, fmt.Errorf("%s is damaged: restore it, or start with an empty dir: %w", filepath.Join(dir, identityFile), err)
	}
	if found.Format != identityFormat {
		return id, fmt.Errorf("%s was written by another version: use that", filepath.Join(dir, identityFile))
	}
	if found.Node != node {
		return id, fmt.Errorf("%s is the folder of node %s, not of %s: write name=%s, or another dir", dir, found.Node, node, found.Node)
	}
	return found, nil
}

// write puts the identity into the folder, whole or not at all.
func (id identity) write(dir string) error {
	text, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return writeSynced(filepath.Join(dir, identityFile), append(text, '\n'))
}

// ownCluster is a name that no other cluster has.
func ownCluster() string { return defaultCluster + "-" + strings.ToLower(rand.Text()[:12]) }

// The server counts two nodes at least in a new cluster, so one alone would wait
// for ever, and counts no more than it finds in its options, which may be one
// name for all. So the peers of its metadata group are written before it first
// starts. Each version of the server reads this form, since the one before it
// has left it.
//
// Nodes without data elect a leader only if all of them are there, so those
// that are new cannot begin without the one that has the data.
const (
	peersFile = "jetstream/$SYS/_js_/_meta_/peers.idx"
	peerIDLen = 8
	// alphabet is of the names that the server gives its peers.
	alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// seedPeers writes the peers for a first start: this node, and how many there
// are. It leaves alone what belongs to a cluster.
func seedPeers(dir, node string, nodes int) error {
	path := filepath.Join(dir, filepath.FromSlash(peersFile))
	switch text, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !unformed(text, node):
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeSynced(path, encodePeers(node, nodes))
}

// encodePeers is one known peer of a group of so many.
func encodePeers(node string, size int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(size))
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = append(b, peerID(node)...)
	return binary.LittleEndian.AppendUint16(b, 0)
}

// unformed reports whether it was written by seedPeers for several nodes, and
// not by a server since: that knows as many peers as it counts.
func unformed(text []byte, node string) bool {
	if len(text) < 8+peerIDLen {
		return false
	}
	known := binary.LittleEndian.Uint32(text[4:])
	return known == 1 && peersSize(text) > 1 && string(text[8:8+peerIDLen]) == peerID(node)
}

// peersSize is the number of nodes that have a vote.
func peersSize(text []byte) int {
	if len(text) < 8 {
		return 0
	}
	return int(binary.LittleEndian.Uint32(text))
}

// peerID is the name that the server gives a node.
func peerID(node string) string {
	sum := sha256.Sum256([]byte(node))
	id := make([]byte, peerIDLen)
	for i := range id {
		id[i] = alphabet[int(sum[i])%len(alphabet)]
	}
	return string(id)
}

// writeSynced replaces a file, and returns when that is on disk.
func writeSynced(path string, text []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
