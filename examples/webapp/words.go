package main

import (
	"strings"
	"time"
)

// browser names a user agent for people, as well as that can be told.
func browser(agent string) string {
	name := "A browser"
	for _, b := range []struct{ mark, name string }{
		{"Firefox/", "Firefox"}, {"Edg/", "Edge"}, {"HeadlessChrome/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	} {
		if strings.Contains(agent, b.mark) {
			name = b.name
			break
		}
	}
	for _, s := range []struct{ mark, name string }{
		{"Android", "Android"}, {"iPhone", "an iPhone"}, {"iPad", "an iPad"}, {"Windows", "Windows"}, {"Mac OS X", "a Mac"}, {"Linux", "Linux"},
	} {
		if strings.Contains(agent, s.mark) {
			return name + " on " + s.name
		}
	}
	return name
}

func when(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04") }
