void(generation + 1)
return 1
