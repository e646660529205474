package sqlite

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// migrations has one file for each version of the schema, in order. A file
// that was released is never changed.
//
//go:embed schema/*.sql
var migrations embed.FS

// applicationID marks the file as Coatcheck's: "Coat".
const applicationID = 0x436f6174

// migrate brings the schema to the newest version. Several processes may do so
// at once: the first to get the write lock does it, in one transaction.
func migrate(c *conn, now time.Time) error {
	files, err := fs.Glob(migrations, "schema/*.sql")
	if err != nil {
		return err
	}
	version, err := schemaVersion(c)
	if err != nil || version == len(files) {
		return err
	}
	if version > len(files) {
		return newerSchema(version, len(files))
	}
	if err := c.db.Exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("lock the database to set up its schema: %w", err)
	}
	err = migrateLocked(c, files, now)
	if err == nil {
		err = c.db.Exec("COMMIT")
	}
	if err != nil && !c.db.GetAutocommit() {
		return errors.Join(err, c.db.Exec("ROLLBACK"))
	}
	return err
}

func migrateLocked(c *conn, files []string, now time.Time) error {
	version, err := schemaVersion(c)
	if err != nil {
		return err
	}
	if version > len(files) {
		return newerSchema(version, len(files))
	}
	if version == 0 {
		err := c.db.Exec(fmt.Sprintf(`PRAGMA application_id = %d;
			CREATE TABLE schema_versions (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT`,
			applicationID))
		if err != nil {
			return fmt.Errorf("create the table of schema versions: %w", err)
		}
	}
	for i := version; i < len(files); i++ {
		sql, err := migrations.ReadFile(files[i])
		if err != nil {
			return err
		}
		if err := c.db.Exec(string(sql)); err != nil {
			return fmt.Errorf("apply %s: %w", files[i], err)
		}
		err = c.query("INSERT INTO schema_versions (version, applied_at) VALUES (?, ?)").
			int64(int64(i + 1)).time(now).exec()
		if err != nil {
			return fmt.Errorf("note that %s was applied: %w", files[i], err)
		}
	}
	return nil
}

// schemaVersion returns 0 for a new file. A database that is not Coatcheck's is
// an error.
func schemaVersion(c *conn) (int, error) {
	tables, err := c.int64("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return 0, err
	}
	id, err := c.int64("PRAGMA application_id")
	if err != nil {
		return 0, err
	}
	switch {
	case tables == 0 && id == 0:
		return 0, nil
	case id != applicationID:
		return 0, errForeign
	}
	version, err := c.int64("SELECT max(version) FROM schema_versions")
	if errors.Is(err, sqlite3.ERROR) {
		return 0, errForeign
	}
	return int(version), err
}

var errForeign = errors.New("it is a database of another program; give the path of a new file")

func newerSchema(have, know int) error {
	return fmt.Errorf("its schema is version %d, and this program knows up to %d: use a newer coatcheck", have, know)
}
