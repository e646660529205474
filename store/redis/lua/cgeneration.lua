return string.format('%.0f', generation)
