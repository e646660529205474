// Command cmd is a NATS server with JetStream, for tests: that of the Go module,
// as a process of its own.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	opts := &server.Options{Host: "127.0.0.1", JetStream: true, NoSigs: true}
	flag.BoolVar(&opts.SyncAlways, "sync", true, "each write")
	flag.StringVar(&opts.ServerName, "name", "", "of the server")
	flag.IntVar(&opts.Port, "port", 0, "for clients")
	flag.StringVar(&opts.StoreDir, "dir", "", "of JetStream")
	flag.StringVar(&opts.Username, "user", "", "of clients")
	flag.StringVar(&opts.Password, "password", "", "of clients")
	cluster := flag.Int("cluster", 0, "port for other servers")
	routes := flag.String("routes", "", "URLs of other servers")
	flag.Parse()
	if *cluster != 0 {
		opts.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: *cluster}
		opts.Routes = server.RoutesFromStr(*routes)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.SetLoggerV2(stderr{}, false, false, false)
	s.Start()
	s.WaitForShutdown()
}

// stderr logs what a test's failure is to show.
type stderr struct{}

func (stderr) Noticef(string, ...any)         {}
func (stderr) Debugf(string, ...any)          {}
func (stderr) Tracef(string, ...any)          {}
func (stderr) Warnf(format string, v ...any)  { fmt.Fprintf(os.Stderr, format+"\n", v...) }
func (stderr) Errorf(format string, v ...any) { fmt.Fprintf(os.Stderr, format+"\n", v...) }
func (stderr) Fatalf(format string, v ...any) { fmt.Fprintf(os.Stderr, format+"\n", v...); os.Exit(1) }
