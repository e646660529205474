// Package postgres keeps records in PostgreSQL.
package postgres
