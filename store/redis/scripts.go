package redis

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// A script is one atomic step. It is called by the hash of its source and sent
// whole where the server does not know it, after a restart, say.
type script struct{ source, sha string }

// A script that fails has written nothing: it reads all it needs before it
// writes. The flags let what takes no room, or frees it, work on a full
// server.
const (
	flagsNone     = "#!lua"
	flagsAllowOOM = "#!lua flags=allow-oom"
	flagsNoWrites = "#!lua flags=no-writes"
)

// scripts are all steps there are.
type scripts struct {
	create, importing, update, touch, extend, owner, remove, sweep *script
	updates                                                        *script // several at once
	due, page                                                      *script
	appendEvents, readEvents, tailEvents, trimEvents               *script
}

// newScripts composes the scripts; now is the part that tells the time.
func newScripts(now string) *scripts {
	return &scripts{
		create:    compose(flagsNone, now, part("bump"), part("tomb"), part("tell"), part("note"), part("create")),
		importing: compose(flagsNone, now, part("tell"), part("note"), part("import")),
		update:    compose(flagsNone, now, part("live"), part("bump"), part("tell"), part("note"), part("update")),
		updates: compose(flagsNone, now, part("bump"), part("collect"), part("step"),
			part("live"), part("note"), part("update"), part("each")),
		touch:  compose(flagsAllowOOM, now, part("live"), part("fence"), part("bump"), part("touch")),
		extend: compose(flagsAllowOOM, now, part("live"), part("fence"), part("bump"), part("tell"), part("note"), part("extend")),
		owner:  compose(flagsAllowOOM, now, part("live"), part("fence"), part("bump"), part("tell"), part("note"), part("owner")),
		remove: compose(flagsAllowOOM, now, part("bump"), part("tomb"), part("tell"), part("note"), part("delete")),
		sweep:  compose(flagsAllowOOM, now, part("bump"), part("tomb"), part("tell"), part("note"), part("sweep")),

		due:  compose(flagsNoWrites, now, part("due")),
		page: compose(flagsNoWrites, now, part("page")),

		appendEvents: compose(flagsNone, now, part("live"), part("fence"), part("etrimfns"), part("eappend")),
		readEvents:   compose(flagsNoWrites, now, part("live"), part("eread")),
		tailEvents:   compose(flagsNoWrites, now, part("live"), part("etail")),
		trimEvents:   compose(flagsAllowOOM, now, part("live"), part("etrimfns"), part("etrim")),
	}
}

func (s *scripts) all() []*script {
	return []*script{
		s.create, s.importing, s.update, s.updates, s.touch, s.extend, s.owner, s.remove, s.sweep, s.due, s.page,
		s.appendEvents, s.readEvents, s.tailEvents, s.trimEvents,
	}
}

// compose joins the parts of a script. The check of the epoch has its place
// within some of them.
func compose(flags string, parts ...string) *script {
	source := flags + "\n"
	for _, p := range parts {
		source += strings.NewReplacer("-- FENCE\n", part("fence"), "MAX_RECORD", strconv.Itoa(state.MaxRecordBytes)).Replace(p)
	}
	sum := sha1.Sum([]byte(source))
	return &script{source: source, sha: hex.EncodeToString(sum[:])}
}

func part(name string) string {
	b, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic("a script is missing from the binary: " + name)
	}
	return string(b)
}
