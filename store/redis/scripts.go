package redis

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"strings"
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
	due, page                                                      *script
	appendEvents, readEvents, tailEvents, trimEvents               *script
}

func newScripts() *scripts {
	return &scripts{
		create:    compose(flagsNone, "now", "bump", "tomb", "note", "create"),
		importing: compose(flagsNone, "now", "note", "import"),
		update:    compose(flagsNone, "now", "live", "bump", "note", "update"),
		touch:     compose(flagsAllowOOM, "now", "live", "fence", "bump", "touch"),
		extend:    compose(flagsAllowOOM, "now", "live", "fence", "bump", "note", "extend"),
		owner:     compose(flagsAllowOOM, "now", "live", "fence", "bump", "note", "owner"),
		remove:    compose(flagsAllowOOM, "now", "bump", "tomb", "note", "delete"),
		sweep:     compose(flagsAllowOOM, "now", "bump", "tomb", "note", "sweep"),

		due:  compose(flagsNoWrites, "now", "due"),
		page: compose(flagsNoWrites, "now", "page"),

		appendEvents: compose(flagsNone, "now", "live", "fence", "etrimfns", "eappend"),
		readEvents:   compose(flagsNoWrites, "now", "live", "eread"),
		tailEvents:   compose(flagsNoWrites, "now", "live", "etail"),
		trimEvents:   compose(flagsAllowOOM, "now", "live", "etrimfns", "etrim"),
	}
}

func (s *scripts) all() []*script {
	return []*script{
		s.create, s.importing, s.update, s.touch, s.extend, s.owner, s.remove, s.sweep, s.due, s.page,
		s.appendEvents, s.readEvents, s.tailEvents, s.trimEvents,
	}
}

// compose joins the parts of a script. The check of the epoch has its place
// within some of them.
func compose(flags string, parts ...string) *script {
	source := flags + "\n"
	for _, p := range parts {
		source += strings.Replace(part(p), "-- FENCE\n", part("fence"), 1)
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
