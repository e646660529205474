package cluster

import (
	"errors"
	"net/http"
)

// answerHeader is how a member says that its answer is meant for the member
// that forwarded the request, not for the client.
const answerHeader = "Coatcheck-Answer"

// The values of answerHeader.
const (
	answerMoved   = "moved"   // ErrMoved
	answerTake    = "take"    // ErrTake
	answerAnew    = "anew"    // not accepted; another header may be
	answerReplay  = "replay"  // not accepted, since an equal one was
	answerRefused = "refused" // not accepted
)

// Refuse answers a forwarded request that is not served: for [ErrMoved] and
// [ErrTake] with 421, for a [*RefusedError] with its status. Nothing may have
// been done with the request.
func Refuse(w http.ResponseWriter, err error) {
	var refused *RefusedError
	status, answer, text := http.StatusMisdirectedRequest, answerRefused, "forwarded request refused"
	switch {
	case errors.Is(err, ErrMoved):
		answer = answerMoved
	case errors.Is(err, ErrTake):
		answer = answerTake
	case errors.As(err, &refused):
		status, answer = refused.Status, refused.answer()
	default:
		status = http.StatusForbidden
	}
	w.Header().Set(answerHeader, answer)
	http.Error(w, text, status)
}

func (e *RefusedError) answer() string {
	switch e.Reason {
	case reasonNotHere, reasonUnconfirmed, reasonUnknown, reasonAge:
		return answerAnew
	case reasonReplayed:
		return answerReplay
	}
	return answerRefused
}
