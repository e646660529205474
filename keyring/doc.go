// Package keyring keeps the keys of a deployment: named, with a state each,
// and rotated without a moment in which something cannot be read.
//
// # States
//
// A key is [Created] first: every replica that has read the ring can open what
// is sealed with it, but nobody seals with it yet. Exactly one key is [Active]:
// new data is sealed with it. A [Retired] key opens what was sealed with it
// before. A [Revoked] key does nothing, for ever: its material is erased. So a
// rotation is: [Ring.Generate]; wait until each replica has read the file
// ([Ring.Run]); [Ring.Activate]; seal old data anew; [Ring.Revoke] the old key.
//
// # Purposes
//
// No key is used as it stands. For each [Purpose] another one is derived with
// HKDF-SHA-256 (RFC 5869), so that what is sealed for one can never be taken
// for another. What must not change with a rotation, as the keyed hash by which
// a user's records are found, is derived from the root of the ring
// ([Ring.Stable]), which lives as long as the ring.
//
// # Cipher
//
// [Cipher] is XAES-256-GCM of the C2SP: AES-256-GCM with a key of its own for
// each message and a random nonce of 192 bits, so that the number of messages
// per key has no practical bound (2^80 at a collision risk of 2^-32).
//
// # Where the ring is kept
//
// In a file ([Open], [Create]) that only its owner may read, replaced in one
// step on every change; or made from one key in an environment variable
// ([FromKey]), which cannot be rotated but can be saved to a file
// ([Ring.SaveAs]) that then can. With a [Master], a key management service say,
// the file has the keys in wrapped form only.
//
// # Limits
//
// Whoever can read the memory of the process has the keys. Erased material may
// remain in memory until the garbage collector has used the place, and on disk
// until the file system has; only a Master helps against a copied disk. Without
// a Master the file is not authenticated: who can write it can add a key.
package keyring
