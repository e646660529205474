package main

import (
	"fmt"
	"runtime/debug"
)

type versionCmd struct{}

func (versionCmd) Run(a *app) error {
	_, err := fmt.Fprintln(a.stdout, "coatcheck", version())
	return err
}

// release is the version of a build, set by the linker: -X main.release=v1.2.3.
var release string

// version is what the linker was told, or that of the module, as the Go command
// noted it in the binary.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
