// Command hello is the sample app that the deploy example deploys: a web server
// that greets, and a check of its configuration for the release phase.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"example.com/hello/greeting"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "check" {
		fmt.Println("checking the configuration of", os.Getenv("HEROKU_APP_NAME"))
		fmt.Println(greeting.For("release phase"))
		return
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: http.HandlerFunc(greet), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func greet(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if name == "" {
		name = "world"
	}
	fmt.Fprintln(w, greeting.For(name))
}
