package streamable

import (
	"mime"
	"net/http"
	"strings"
)

// CheckPOST refuses a POST whose Content-Type or Accept the transport does not
// allow.
func CheckPOST(r *http.Request) error {
	if !isJSON(r.Header.Get("Content-Type")) {
		return &Refusal{Status: http.StatusUnsupportedMediaType, Text: "Content-Type must be 'application/json'"}
	}
	if json, stream := accepts(r.Header["Accept"]); !json || !stream {
		return BadRequest("Accept must contain both 'application/json' and 'text/event-stream'")
	}
	if len(r.Header[HeaderLastEventID]) > 0 {
		return BadRequest("can't send Last-Event-ID for POST request")
	}
	return nil
}

// CheckGET refuses a GET that does not accept an event stream.
func CheckGET(r *http.Request) error {
	if _, stream := accepts(r.Header["Accept"]); !stream {
		return BadRequest("Accept must contain 'text/event-stream' for GET requests")
	}
	return nil
}

func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true // what nearly every client sends; parsing costs more
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json"
}

// accepts reports which of the two media types of the transport the Accept
// header admits. Quality values are not weighed.
func accepts(values []string) (json, stream bool) {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			media, _, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "application/json", "application/*":
				json = true
			case "text/event-stream", "text/*":
				stream = true
			case "*/*":
				json, stream = true, true
			}
		}
	}
	return json, stream
}
