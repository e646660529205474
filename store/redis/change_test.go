package redis

import (
	"encoding/binary"
	"strings"
	"testing"
)

// written returns a notice as the scripts write it.
func written(sequence uint64, kind string) string {
	b := []byte{4}
	b = binary.BigEndian.AppendUint64(b, sequence)
	b = append(b, strings.Repeat("r", 17)...)
	b = binary.BigEndian.AppendUint64(b, 5)
	b = binary.BigEndian.AppendUint64(b, 6)
	b = append(b, byte(len(kind)), 0)
	b = append(b, kind...)
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(b)))) + string(b)
}

func TestSeveralNoticesAreOneMessage(t *testing.T) {
	rest, ok := written(1, "session")+written(2, "basket")+written(3, ""), true
	for want := uint64(1); want <= 3; want++ {
		var n notice
		if n, rest, ok = nextNotice("test", rest); !ok || n.sequence != want || n.change.Version != 5 || n.change.Revision != 6 {
			t.Fatalf("notice %d: %+v, %v", want, n, ok)
		}
	}
	if rest != "" {
		t.Errorf("%q is left", rest)
	}
}

func TestWhatIsNoNoticeIsRefused(t *testing.T) {
	whole := written(1, "session")
	for n := 1; n < len(whole); n++ {
		if _, _, ok := nextNotice("test", whole[:n]); ok {
			t.Errorf("%d of %d bytes are taken for a notice", n, len(whole))
		}
	}
}
