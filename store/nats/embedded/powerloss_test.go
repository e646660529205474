package embedded

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
)

// A disk is a file system in a file. What was written to it and not synced is
// not in the file: the system keeps it in memory. So a copy of the file is what
// a loss of power leaves.
type disk struct {
	t     *testing.T
	image string
	dir   string // where it is mounted
}

const diskSize = 512 << 20 // sparse

// newDisk makes an empty one. That takes root, and a kernel that lets this
// process mount, which not every container does: the test is skipped there.
func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{t: t, image: filepath.Join(dir, "image"), dir: filepath.Join(dir, "mounted")}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(diskSize); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", d.image).CombinedOutput(); err != nil {
		t.Skipf("missing: mkfs.ext4 (Debian: e2fsprogs): %v %s", err, out)
	}
	d.mount()
	return d
}

// mount mounts it so that nothing gets into the file for its age alone.
func (d *disk) mount() {
	d.t.Helper()
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop,commit=600", d.image, d.dir).CombinedOutput(); err != nil {
		d.t.Skipf("missing: root that may mount a file: %v %s", err, out)
	}
	d.t.Cleanup(d.unmount)
}

func (d *disk) unmount() {
	if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
		d.t.Errorf("umount: %v %s", err, out)
	}
}

// losePower returns the disk as it is after a loss of power at this moment.
func (d *disk) losePower() *disk {
	d.t.Helper()
	dir := d.t.TempDir()
	left := &disk{t: d.t, image: filepath.Join(dir, "image"), dir: filepath.Join(dir, "mounted")}
	if err := copySparse(left.image, d.image); err != nil {
		d.t.Fatal(err)
	}
	left.mount()
	return left
}

// copySparse copies a file and leaves holes where it has only zeros.
func copySparse(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	block, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); ; at += int64(len(block)) {
		n, err := io.ReadFull(in, block)
		if string(block[:n]) != string(zeros[:n]) {
			if _, err := out.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		if err != nil {
			return out.Truncate(diskSize)
		}
	}
}

// losePowerUnderLoad has three nodes on a disk written to, takes the power of
// all of them at once, and returns what was acknowledged and the nodes as they
// are then.
func losePowerUnderLoad(t *testing.T, never bool) (acked map[int]int, left []Options) {
	d, acked := newDisk(t), map[int]int{}
	all := trio(t)
	for i := range all {
		all[i].Dir = filepath.Join(d.dir, all[i].Name)
	}
	children := three(t, all, never)
	for _, c := range children {
		c.tell(t, "load")
	}
	progress(t, children...)
	for _, c := range children {
		if err := c.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
	for _, c := range children {
		<-c.done
	}
	after := d.losePower()
	gather(acked, children...)
	left = all
	for i := range left {
		left[i].Dir = filepath.Join(after.dir, left[i].Name)
	}
	return acked, left
}

func TestPowerLossOfAllNodesLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	acked, left := losePowerUnderLoad(t, false)
	for _, s := range startAll(t, left) {
		expectAll(t, s, acked)
	}
}

// The same with nodes that do not sync loses what was acknowledged, so the test
// above can fail.
func TestPowerLossTestDetectsLoss(t *testing.T) {
	t.Parallel()
	acked, left := losePowerUnderLoad(t, true)
	if len(acked) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	lost := 0
	for key, n := range found(t, left) {
		if n < acked[key] {
			lost++
		}
	}
	if lost == 0 {
		t.Error("nothing was lost though nothing was synced")
	}
	t.Logf("%d of %d keys lost something", lost, len(acked))
}

// found is what nodes have that have lost their power: nothing, if they do not
// even start any more.
func found(t *testing.T, left []Options) map[int]int {
	t.Helper()
	has := map[int]int{}
	for key := range len(left) * keysOfChild {
		has[key] = 0
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	servers := make([]*Server, len(left))
	var starts errgroup.Group
	for i, opts := range left {
		starts.Go(func() (err error) {
			servers[i], err = Start(ctx, opts)
			return err
		})
	}
	err := starts.Wait()
	for _, s := range servers {
		if s != nil {
			t.Cleanup(func() { stop(t, s) })
		}
	}
	if err != nil {
		t.Logf("they do not start: %v", err)
		return has
	}
	v := vaultOf(t, servers[0])
	for key := range has {
		has[key], _ = v.getLong(t.Context(), key) // what cannot be read is lost
	}
	return has
}
