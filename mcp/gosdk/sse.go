package gosdk

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
)

// An event is a server-sent event as the SDK writes it, each in one Write:
// "event: NAME\n", "id: ID\n" and "retry: N\n" where there are any, and
// "data: JSON\n\n". The slices are parts of the write.
type event struct {
	name, id, data []byte
	idEnd          int // where the id ends
}

// parseEvent returns false for what is no event, such as a comment.
func parseEvent(p []byte) (event, bool) {
	var e event
	rest, ok := bytes.CutPrefix(p, []byte("event: "))
	if !ok {
		return e, false
	}
	e.name, rest, _ = bytes.Cut(rest, []byte{'\n'})
	if id, ok := bytes.CutPrefix(rest, []byte("id: ")); ok {
		e.id, rest, _ = bytes.Cut(id, []byte{'\n'})
		e.idEnd = len(p) - len(rest) - 1
	}
	if retry, ok := bytes.CutPrefix(rest, []byte("retry: ")); ok {
		_, rest, _ = bytes.Cut(retry, []byte{'\n'})
	}
	data, ok := bytes.CutPrefix(rest, []byte("data: "))
	if !ok {
		return e, false
	}
	e.data = bytes.TrimSuffix(data, []byte("\n\n"))
	return e, true
}

// answers reports whether the message, as the SDK encodes it, is a response,
// and returns the raw id.
func answers(message []byte) (id []byte, ok bool) {
	rest, ok := bytes.CutPrefix(message, []byte(`{"jsonrpc":"2.0","id":`))
	if !ok {
		return nil, false
	}
	end := bytes.IndexByte(rest, ',')
	if len(rest) > 0 && rest[0] == '"' {
		end = closingQuote(rest) + 1
	}
	if end <= 0 || end >= len(rest) {
		return nil, false
	}
	next := rest[end:]
	return rest[:end], bytes.HasPrefix(next, []byte(`,"result":`)) || bytes.HasPrefix(next, []byte(`,"error":`))
}

// closingQuote returns the index of the quote that ends the string at the
// beginning of b, or -1.
func closingQuote(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// Event ids are the SDK's, "<stream>_<index>", but on request streams the
// client sees "<stream>.<call>_<index>", where call is the id of its JSON-RPC
// request in hex. So when it resumes a stream whose process was killed before
// any of it was stored, the call that nobody will ever answer is known, and can
// be answered with an error instead of leaving the client to wait.

// maxCallID bounds the id of a request that is put into event ids.
const maxCallID = 128

// callTag returns what stands for the call in event ids, or "".
func callTag(rawID []byte) string {
	if len(rawID) == 0 || len(rawID) > maxCallID {
		return ""
	}
	return "." + hex.EncodeToString(rawID)
}

// An eventID is a Last-Event-ID of a client.
type eventID struct {
	stream string
	index  int64
	call   json.RawMessage // the id of the call; nil if not known
}

// parseEventID is strict: what this handler did not write is false.
func parseEventID(text string) (eventID, bool) {
	stream, number, ok := strings.Cut(text, "_")
	if !ok || len(text) > 512 {
		return eventID{}, false
	}
	index, err := strconv.ParseInt(number, 10, 63)
	if err != nil || index < 0 || strconv.FormatInt(index, 10) != number {
		return eventID{}, false
	}
	id := eventID{stream: stream, index: index}
	stream, tag, tagged := strings.Cut(stream, ".")
	if !tagged {
		return id, true
	}
	raw, err := hex.DecodeString(tag)
	if err != nil || stream == "" || !validCallID(raw) {
		return eventID{}, false
	}
	id.stream, id.call = stream, raw
	return id, true
}

// String returns the id as the SDK knows it.
func (id eventID) String() string { return id.stream + "_" + strconv.FormatInt(id.index, 10) }

// validCallID reports whether raw is a JSON string or number.
func validCallID(raw []byte) bool {
	if len(raw) == 0 || len(raw) > maxCallID || !json.Valid(raw) {
		return false
	}
	c := raw[0]
	return c == '"' || c == '-' || c >= '0' && c <= '9'
}
