package main

import (
	"net/http"
	"slices"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/web"
)

// A product is something to buy.
type product struct {
	Name  string
	About string
	Cents int
}

// products are what there is, by the number on their hook.
var products = []product{
	{"Umbrella", "For rain that comes sideways.", 2400},
	{"Wool scarf", "Two metres, undyed.", 3900},
	{"Gloves", "Lined, with a button.", 3200},
	{"Felt hat", "Keeps its shape when sat upon.", 5400},
}

// Price is for people.
func (p product) Price() string { return price(p.Cents) }

// A line is a product in the basket.
type line struct {
	Product string `json:"product"`
	Count   int    `json:"count"`
}

const (
	basketKey = "basket"
	maxCount  = 99
)

// basket reads the basket of a session.
func basket(r *http.Request) ([]line, error) {
	var lines []line
	_, err := web.FromContext(r.Context()).Get(r.Context(), basketKey, &lines)
	return lines, err
}

func (a *app) shop(w http.ResponseWriter, r *http.Request) {
	lines, err := basket(r)
	if err != nil {
		web.Error(w, err)
		return
	}
	a.render(w, r, http.StatusOK, "shop", page{
		Title: "Shop", Message: messages[r.FormValue("said")],
		Content: map[string]any{"Products": products, "Basket": lines, "Total": price(total(lines))},
	})
}

// add puts a product into the basket. Parallel requests lose nothing, since the
// function runs again when another one was quicker.
func (a *app) add(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("product")
	if !slices.ContainsFunc(products, func(p product) bool { return p.Name == name }) {
		http.Error(w, "no such product", http.StatusBadRequest)
		return
	}
	err := web.FromContext(r.Context()).Update(r.Context(), func(s *session.Session) error {
		var lines []line
		if _, err := s.Get(basketKey, &lines); err != nil {
			return err
		}
		return s.Set(basketKey, with(lines, name))
	})
	if err != nil {
		web.Error(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) empty(w http.ResponseWriter, r *http.Request) {
	if err := web.FromContext(r.Context()).Delete(r.Context(), basketKey); err != nil {
		web.Error(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// with returns the lines with one more of a product.
func with(lines []line, name string) []line {
	for i := range lines {
		if lines[i].Product == name {
			lines[i].Count = min(lines[i].Count+1, maxCount)
			return lines
		}
	}
	return append(lines, line{Product: name, Count: 1})
}

func total(lines []line) int {
	cents := 0
	for _, l := range lines {
		for _, p := range products {
			if p.Name == l.Product {
				cents += l.Count * p.Cents
			}
		}
	}
	return cents
}
