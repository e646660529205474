package admin

import "fmt"

// A Finding is the result of one check of a doctor.
type Finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // one of those below
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // what to do
}

// What a check can come to.
const (
	ResultOK      = "ok"
	ResultWarning = "warning"
	ResultFailed  = "failed"
)

// OK is the Finding that all is well.
func OK(detail string, args ...any) Finding {
	return Finding{Result: ResultOK, Detail: fmt.Sprintf(detail, args...)}
}

// Warning is the Finding that something should be done.
func Warning(hint, detail string, args ...any) Finding {
	return Finding{Result: ResultWarning, Detail: fmt.Sprintf(detail, args...), Hint: hint}
}

// Failed is the Finding that something does not work.
func Failed(hint string, err error) Finding {
	return Finding{Result: ResultFailed, Detail: err.Error(), Hint: hint}
}
