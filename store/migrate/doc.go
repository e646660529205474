// Package migrate brings the records of one store into another, whatever the
// two are and what is around them, while servers use the source.
//
// A [Pass] goes through both stores side by side, in the order of refs and in
// bounded memory, and makes the target what the source is: it imports what is
// missing, versions, secrets and times kept; brings up to date what has changed
// since an earlier pass; and ends what has ended in the source, for the same
// reason. What it has done is in the target and nowhere else, so a pass that was
// cut off anywhere is simply made again.
//
// # What is promised
//
// When a pass begins after the last write to the source, and nobody else writes
// to the target, the target is afterwards what the source was: every live
// record with its user, data, metadata, secrets, version, creation and absolute
// deadline; idle deadlines to within a second. So a migration is: passes while
// servers work, each shorter than the one before; the servers stop; one more
// pass; they start on the target. Clients notice a restart.
//
// While servers write to the source, a pass reads each record at some moment of
// its own; what is written behind it is left to the next pass. Between two
// passes no more time may go by than the idle timeout, since a copy that has
// expired in the target cannot be revived; [Stats.Expired] counts those.
//
// What is newer in the target than in the source, is live there (it has an
// epoch), or has ended there, is left alone and counted in [Stats.Left]. But
// one lost update cannot be told from none: if servers write the same session
// in both stores, and more often in the source, then what was written in the
// target is overwritten. Do not serve from both.
//
// # What stays behind
//
// Tombstones, so that what ended before is not explained by the target; events
// of streams, so that a stream that broke off before cannot be resumed; owner
// and epoch, since nothing is live in the target yet; and the records of the
// system's own kinds, which are about processes that run. Refs keep their
// routing byte. If that is computed with another key from then on (another key
// ring, or none before), a user's new sessions and those that were migrated
// stand apart in stores that keep a user's records together, and count apart
// for his limit until the latter have ended.
package migrate
