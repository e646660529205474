package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestOpenKeepsOthersOut(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "data")
	s := openTest(t, filepath.Join(folder, "state.db"), Options{})
	create(t, s, "x")
	for path, want := range map[string]fs.FileMode{
		folder:          0o700,
		s.path:          0o600,
		s.path + "-wal": 0o600,
		s.path + "-shm": 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", filepath.Base(path), info.Mode().Perm(), want)
		}
	}
}

func TestOpenTakesAnyPath(t *testing.T) {
	for _, name := range []string{"a b.db", "50%.db", "what?.db", "tag#1.db", "a+b&c=d.db", "ümlaut.db"} {
		path := filepath.Join(t.TempDir(), name)
		s := openTest(t, path, Options{})
		key := create(t, s, "x")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		get(t, openTest(t, path, Options{}), key)
	}
}

func TestOpenFollowsLinks(t *testing.T) {
	real, link := filepath.Join(t.TempDir(), "state.db"), filepath.Join(t.TempDir(), "link.db")
	symlink(t, real, link) // to nothing yet
	s := openTest(t, link, Options{})
	if _, ok := s.cache.witness.glance(); !ok {
		t.Error("the WAL index was not found behind the link")
	}
	other := openTest(t, real, Options{})
	key := create(t, s, "x")
	get(t, other, key)
	do(t, other, state.DeleteOp{Key: key, Reason: state.ReasonRevoked})
	if _, err := s.Get(t.Context(), key); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("Get after revocation through another path: %v", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	write := func(content string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	sql := func(sql string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			s := &Store{path: path, opts: Options{}.withDefaults()}
			byHand(t, s, sql)
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
		is      error
	}{
		"Folder":      {func(t *testing.T, path string) { mkdir(t, path) }, "it is a folder", nil},
		"NoDatabase":  {write("Dear diary, this is not a database. " + strings.Repeat("x", 4096)), "not an SQLite database", state.ErrCorrupt},
		"Foreign":     {sql("CREATE TABLE invoices (id)"), "another program", nil},
		"ForeignID":   {sql("PRAGMA application_id = 7"), "another program", nil},
		"NoVersions":  {sql("PRAGMA application_id = 0x436f6174; CREATE TABLE x (y)"), "another program", nil},
		"Newer":       {newer, "use a newer coatcheck", nil},
		"FileInPath":  {func(t *testing.T, path string) { write("x")(t, path); parentIsFile(t, path) }, "not a directory", nil},
		"DeviceNotOK": {func(t *testing.T, path string) { symlink(t, os.DevNull, path) }, "not a regular file", nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			c.prepare(t, path)
			if name == "FileInPath" {
				path = filepath.Join(path, "state.db")
			}
			s, err := Open(t.Context(), path, Options{})
			if err == nil {
				s.Close()
				t.Fatal("it opened")
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not name the path and say %q", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %q is not %q", err, c.is)
			}
		})
	}
}

func mkdir(t *testing.T, path string) {
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func parentIsFile(t *testing.T, path string) {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, to, path string) {
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

func newer(t *testing.T, path string) {
	s := openTest(t, path, Options{})
	byHand(t, s, "INSERT INTO schema_versions (version, applied_at) VALUES (1000, 0)")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenOfAForeignDatabaseChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	byHand(t, &Store{path: path, opts: Options{}.withDefaults()}, "CREATE TABLE invoices (id)")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), path, Options{}); err == nil {
		s.Close()
		t.Fatal("it opened")
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file was changed (%v)", err)
	}
}

func TestOpenOfADamagedDatabase(t *testing.T) {
	s := openTest(t, "", Options{})
	for range 50 {
		create(t, s, strings.Repeat("x", 1000))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("\xff", 4000)), 100); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	damaged, err := Open(t.Context(), s.path, Options{})
	if err == nil {
		damaged.Close()
		t.Fatal("it opened")
	}
	if !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), s.path) {
		t.Errorf("open of a damaged database: %v, want ErrCorrupt and the path", err)
	}
}

func TestOpenIsBoundedWhileTheFileIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	locker := &Store{path: path, opts: Options{}.withDefaults()}
	c, err := locker.connect(t.Context(), "BEGIN EXCLUSIVE")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	s, err := Open(t.Context(), path, Options{BusyTimeout: 30 * time.Millisecond})
	if err == nil {
		s.Close()
		t.Fatal("it opened")
	}
	if !errors.Is(err, state.ErrUnavailable) || !strings.Contains(err.Error(), "locked") {
		t.Errorf("open of a locked file: %v, want ErrUnavailable", err)
	}
}

func TestWallClockIsCarriedForward(t *testing.T) {
	s := openTest(t, "", Options{})
	op := createOp(newKey(t), "x")
	op.Idle, op.Lifetime = 50*time.Millisecond, time.Hour
	before := time.Now()
	stamp := do(t, s, op).Stamp
	if d := stamp.Created.Sub(before); d < -time.Second || d > time.Minute {
		t.Errorf("created %v after it began", d)
	}
	eventually(t, "the record expires", func() bool {
		_, err := s.Get(t.Context(), op.Record.Key())
		return errors.Is(err, state.ErrNotFound)
	})
	if lived := time.Since(before); lived < 49*time.Millisecond {
		t.Errorf("it lived %v, want 50ms", lived)
	}
}

func TestClockNeverRunsBackwards(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newClock(func() time.Time { return now })
	first := c.now()
	now = now.Add(-time.Hour)
	if got := c.now(); got.Before(first) {
		t.Errorf("clock went from %v to %v", first, got)
	}
}
