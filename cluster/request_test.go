package cluster

import (
	"net/http"
	"net/http/httptest"
	"strings"
)

func httpRequest(method, target, body string) *http.Request {
	if body == "" {
		return httptest.NewRequest(method, target, nil)
	}
	return httptest.NewRequest(method, target, strings.NewReader(body))
}
